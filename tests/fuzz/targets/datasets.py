"""Annotations of every data set, and tables and lists that people make themselves."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from edits import Edit, raw, table, tree
from hypothesis import strategies as st
from target import Arrays, Target

from mmcache.extract.datasets import DATASETS
from mmcache.store.ground.errors import MmcacheError
from mmcache.store.segments.segment_table import check_segments

_VIDEO = "00000000-aaaa-4bbb-8ccc-1234567890ab"
_EPIC_COLUMNS = (
    "narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,stop_frame,"
    "narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes"
)
_SOUND_COLUMNS = (
    "annotation_id,participant_id,video_id,start_timestamp,stop_timestamp,start_sample,stop_sample,"
    "description,class,class_id"
)


def _dataset(
    name: str, write: Callable[[Path], list[Path]], edits: st.SearchStrategy[Edit], title: str = "", **options: Any
) -> Target:
    """Annotations are read, every span and label is checked, and the media of every segment are looked for."""

    def read(folder: Path) -> Arrays:
        make, _ = DATASETS[name]
        found = make(folder, **options)
        table = found.segments
        check_segments(table.assign(stop_s=table["stop_s"].replace(np.inf, 1e9)), found.tasks)
        for modality in found.modalities:
            for video in table["video"].unique():
                found.source(modality, video)
        return [table["stop_s"].to_numpy()]

    return Target(title or f"data set:{name}", write, read, edits, (MmcacheError,))


def _lines(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def _json(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def _epic(folder: Path) -> list[Path]:
    def row(name: str, second: int, classes: tuple[int, int]) -> str:
        video = name.rpartition("_")[0]
        return (
            f"{name},{video[:3]},{video},00:00:00.560,00:00:{second:02d}.00,00:00:{second + 1:02d}.89,1,113,take plate,"
            f"take,{classes[0]},plate,{classes[1]},\"['plate', 'tap']\",\"[2, 0]\""
        )

    def classes(keys: list[str]) -> list[str]:
        return ["id,key,instances,category", *(f"{i},{key},\"['{key}']\",some" for i, key in enumerate(keys))]

    train = [row(f"P01_11_{i}", i, (i % 2, i % 3)) for i in range(10)]
    validation = [row(f"P02_03_{i}", i, (i % 2, i % 3)) for i in range(10)]
    test = [",".join(row(f"P08_101_{i}", i, (0, 0)).split(",")[:8]) for i in range(4)]
    return [
        _lines(folder / "EPIC_100_train.csv", _EPIC_COLUMNS, *train),
        _lines(folder / "EPIC_100_validation.csv", _EPIC_COLUMNS, *validation),
        _lines(folder / "EPIC_100_test_timestamps.csv", ",".join(_EPIC_COLUMNS.split(",")[:8]), *test),
        _lines(folder / "EPIC_100_verb_classes.csv", *classes(["take", "put"])),
        _lines(folder / "EPIC_100_noun_classes.csv", *classes(["tap", "spoon", "plate"])),
        _lines(folder / "EPIC_100_tail_verbs.csv", "verb", "1"),
        _lines(folder / "EPIC_100_unseen_participant_ids_validation.csv", "participant_id", "P02"),
        _lines(folder / "EPIC_100_video_info.csv", "video_id,duration,fps,resolution", "P01_11,60.0,59.94,1920x1080"),
    ]


def _epic_sounds(folder: Path) -> list[Path]:
    def row(name: str, second: int, label: int) -> str:
        video = name.rpartition("_")[0]
        return f"{name},P01,{video},00:00:{second:02d}.250,00:00:{second:02d}.900,1,9,tap on,sound {label},{label}"

    train = [row(f"P01_01_{i}", i, i % 44) for i in range(50)]
    test = [",".join(row(f"P33_101_{i}", i, 0).split(",")[:7]) for i in range(5)]
    return [
        _lines(folder / "EPIC_Sounds_train.csv", _SOUND_COLUMNS, *train),
        _lines(folder / "EPIC_Sounds_validation.csv", _SOUND_COLUMNS, *(row(f"P18_01_{i}", i, i) for i in range(9))),
        _lines(folder / "EPIC_Sounds_recognition_test_timestamps.csv", ",".join(_SOUND_COLUMNS.split(",")[:7]), *test),
    ]


def _ego4d(folder: Path) -> list[Path]:
    def sta(first: int) -> dict[str, Any]:
        touched = {"box": [1.0, 2.0, 90.5, 70.25], "verb_category_id": 1, "noun_category_id": 0, "time_to_contact": 0.5}
        return {
            "info": {"version": "2.0", "video_metadata": {_VIDEO: {"frame_width": 1920, "fps": 30.0}}},
            "annotations": [
                {
                    "uid": f"{_VIDEO}_{frame:07d}",
                    "video_id": _VIDEO,
                    "frame": frame,
                    "clip_uid": _VIDEO,
                    "clip_frame": frame,
                    "objects": [touched],
                }
                for frame in range(first, first + 600, 60)
            ],
            "noun_categories": [{"id": i, "name": f"noun{i}"} for i in range(3)],
            "verb_categories": [{"id": i, "name": f"verb{i}"} for i in range(3)],
        }

    video = {"video_uid": _VIDEO, "duration_sec": 600.0, "is_stereo": False, "has_imu": True, "video_metadata": {}}
    return [
        _json(folder / "v2/annotations/fho_sta_train.json", sta(100)),
        _json(folder / "v2/annotations/fho_sta_val.json", sta(9000)),
        _json(folder / "ego4d.json", {"version": "v2", "videos": [video], "clips": []}),
    ]


def _mmg(folder: Path) -> list[Path]:
    rows = [f"c{i},{_VIDEO},{4 * i},{4 * i + 3.5},action {i % 5},{'novel' if i % 5 > 2 else 'base'}" for i in range(20)]
    _json(folder / "ego4d.json", {"videos": [{"video_uid": _VIDEO, "duration_sec": 100.0}]})
    return [_lines(folder / "mmg_ego4d.csv", "clip_id,video_uid,start,end,label,split", *rows)]


def _ssv2(folder: Path) -> list[Path]:
    labels = {"Pushing something onto something": "0", "Tearing something that is not tearable": "1"}
    pushing, tearing = "Pushing [something] onto [something]", "Tearing [something that is not tearable]"

    def items(first: int) -> list[dict[str, Any]]:
        return [
            {"id": str(first + i), "label": "x", "template": (pushing, tearing)[i % 2], "placeholders": ["cup"]}
            for i in range(8)
        ]

    name = "something-something-v2-{}.json"
    return [
        _json(folder / name.format("labels"), labels),
        _json(folder / name.format("train"), items(100)),
        _json(folder / name.format("validation"), items(200)),
        _json(folder / name.format("test"), [{"id": "300"}, {"id": "301"}]),
    ]


def _something_else(folder: Path) -> list[Path]:
    _ssv2(folder)
    corners = {"x1": 5.0, "y1": 20, "x2": 65.0, "y2": 90}
    boxes = [{"box2d": corners, "category": "cup", "standard_category": "0000", "gt_annotation": "object 0"}]
    return [
        _json(
            folder / f"bounding_box_smthsmth_part{part}.json",
            {str(100 + part): [{"name": f"{100 + part}/{n:04d}.jpg", "labels": boxes} for n in range(1, 9)]},
        )
        for part in (1, 2)
    ]


def _ntu(folder: Path) -> list[Path]:
    for person in (1, 3):
        _lines(folder / f"nturgb+d_skeletons/S001C001P{person:03d}R001A001.skeleton", "0")
    names = ["S001C001P003R002A013", "S001C002P005R002A009"]
    return [_lines(folder / "NTU_RGBD_samples_with_missing_skeletons.txt", "Missing:", "", "Samples:", *names)]


def _manifest(folder: Path) -> list[Path]:
    (folder / "a.mp4").write_bytes(b"x")
    (folder / "b.wav").write_bytes(b"x")
    rows = [
        f"s{i},a.mp4,b.wav,{i},{i + 0.9},{('train', 'test')[i % 4 == 3]},{('cut', 'wash')[i % 2]}" for i in range(12)
    ]
    return [_lines(folder / "manifest.csv", "id,rgb,audio,start,stop,split,label", *rows)]


def _parquet(folder: Path) -> list[Path]:
    _manifest(folder)
    pd.read_csv(folder / "manifest.csv").to_parquet(folder / "manifest.parquet")
    (folder / "manifest.csv").unlink()
    return [folder / "manifest.parquet"]


def _uwa3d(folder: Path) -> list[Path]:
    path = folder / "ActionsSkeleton/a01_s01_e00_v01.mat"
    path.parent.mkdir()
    with h5py.File(path, "w") as file:
        file["A"] = np.ones((45, 9))
    return [path]


TARGETS = (
    _dataset("epic", _epic, table()),
    _dataset("epic-sounds", _epic_sounds, table()),
    _dataset("ego4d-ar", _ego4d, tree()),
    _dataset("mmg-ego4d", _mmg, table()),
    _dataset("ssv2", _ssv2, tree()),
    _dataset("ssv2", _something_else, tree(), "data set:something-else"),
    _dataset("ntu60", _ntu, table()),
    _dataset("uwa3d", _uwa3d, raw()),
    _dataset("manifest", _manifest, table()),
    _dataset("manifest", _parquet, raw(), "data set:manifest.parquet"),
)
