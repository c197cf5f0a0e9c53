"""EPIC-KITCHENS-100 action recognition, in the layouts of its official downloader and server.

Annotations: github.com/epic-kitchens/epic-kitchens-100-annotations. A segment is one narration; its span is
taken from the timestamps, which are the only clock all sensors share (frame numbers count extracted JPEGs at
60 or 50 per second by the video's era, not frames of the MP4).
"""

import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import ClassVar

import pandas as pd

from mmcache.extract.datasets.base.dataset import Dataset, Option
from mmcache.extract.datasets.epic.epic_media import EpicMedia
from mmcache.extract.datasets.epic.epic_splits import add_protocols
from mmcache.extract.datasets.files.annotation_files import find_annotations, read_csv, refuse_if_all_are_lost
from mmcache.extract.datasets.files.clock import timestamp_s
from mmcache.extract.datasets.files.numbers import class_number
from mmcache.extract.datasets.files.packed_media import LAYOUT
from mmcache.extract.media.base.source import Source
from mmcache.store.ground.errors import ConfigError, Problems
from mmcache.store.segments.segment_table import UNLABELLED

ANNOTATIONS_URL = "https://github.com/epic-kitchens/epic-kitchens-100-annotations"
DOWNLOADER_URL = "https://github.com/epic-kitchens/epic-kitchens-download-scripts"
_ANNOTATION_FOLDERS = (".", "annotations", "epic-kitchens-100-annotations")
_SPLIT_FILES = {
    "train": "EPIC_100_train.csv",
    "validation": "EPIC_100_validation.csv",
    "test": "EPIC_100_test_timestamps.csv",  # no labels are public
}
_CLASS_FILES = {"verb": "EPIC_100_verb_classes.csv", "noun": "EPIC_100_noun_classes.csv"}
_SPAN_COLUMNS = ["narration_id", "participant_id", "video_id", "start_timestamp", "stop_timestamp"]
VIDEO_ID = re.compile(r"P\d{2}_\d{2,3}", re.ASCII)
_NUMBERED = re.compile(r"_\d+", re.ASCII)


class EpicKitchens(Dataset):
    """See Dataset.

    Args:
        root: the folder that holds PXX/videos, PXX/meta_data (or EPIC-KITCHENS/PXX/..., or videos/train/PXX).
        annotations: the folder of the CSV files; None looks in `root` and its usual sub-folders.

    Raises:
        ConfigError: folders, files or columns are missing; all of them are named at once.
    """

    name: ClassVar[str] = "epic"
    modalities: ClassVar[tuple[str, ...]] = ("rgb", "flow", "audio", "imu", "boxes")
    mirrors: ClassVar[bool] = True
    options: ClassVar[Mapping[str, Option]] = {}
    eval_split: str = "validation"  # the test split's labels are not public

    def __init__(self, root: Path, annotations: Path | None = None) -> None:
        self.root = root
        self._media = EpicMedia(root, narrations=True)
        self.problems: list[str] = []
        self.lost_rows = 0
        needed = [*_CLASS_FILES.values(), _SPLIT_FILES["train"]]
        folder = find_annotations(
            root, annotations, _ANNOTATION_FOLDERS, needed, "EPIC-KITCHENS-100", ANNOTATIONS_URL, DOWNLOADER_URL
        )
        files = _read_files(folder)
        self.tasks = _read_classes(folder, files)
        splits = {split: name for split, name in _SPLIT_FILES.items() if name in files}
        tables = [self._read_split(files[name], name, split) for split, name in splits.items()]
        table = pd.concat(tables, ignore_index=True)
        repeated = table["id"].duplicated()
        for where, segment in zip(table["_where"][repeated], table["id"][repeated], strict=True):
            self.problems.append(f"{where}: narration '{segment}' appears twice; the first is used")
        # File order is lexicographic by id; ours is by time, so that neighbours share a video.
        order = {split: i for i, split in enumerate(_SPLIT_FILES)}
        table = table[~repeated].assign(_split=lambda t: t["split"].map(order))
        table = table.sort_values(["_split", "video", "start_s", "stop_s", "id"], kind="stable")
        table = table.drop(columns=["_split", "_where"]).reset_index(drop=True)
        self.segments = add_protocols(table, self.tasks, folder)

    def source(self, modality: str, video: str) -> Source | None:
        return self._media.source(modality, video)

    def expected_layout(self) -> str:
        return (
            f"Media are looked for as {self.root}/PXX/videos/PXX_YY.MP4, {self.root}/PXX/rgb_frames/PXX_YY/, "
            f"{self.root}/PXX/flow_frames/PXX_YY/u/ (and v/) and {self.root}/PXX/meta_data/PXX_YYY-accl.csv (and "
            f"-gyro.csv), {self.root}/PXX/hand-objects/PXX_YY.pkl, also below {self.root}/EPIC-KITCHENS; packed, as "
            f"{LAYOUT.format(root=self.root)}. "
            f"The official downloader puts them there: {DOWNLOADER_URL}"
        )

    def _read_split(self, raw: pd.DataFrame, name: str, split: str) -> pd.DataFrame:
        """The segments of one file; rows that cannot be used go to `problems`."""
        columns = ("id", "video", "start_s", "stop_s", "split", *_CLASS_FILES, "participant", "narration", "_where")
        out: dict[str, list] = {column: [] for column in columns}
        before = len(self.problems)
        for line, row in zip(raw.index, raw.to_dict("records"), strict=True):
            where = f"{name} line {line}"
            try:
                span = timestamp_s(row["start_timestamp"]), timestamp_s(row["stop_timestamp"])
                check_ids(row["narration_id"], row["video_id"], "narration id")
                if span[1] <= span[0]:
                    raise ValueError(f"stops at {span[1]} s, not after its start {span[0]} s")
                labelled = split != "test"
                labels = [_label(row, task, self.tasks[task]) if labelled else UNLABELLED for task in self.tasks]
            except ValueError as error:
                self.problems.append(f"{where} ({row['narration_id'] or 'no id'}): {error}")
                self.lost_rows += 1
                continue
            extras = (row["participant_id"], row.get("narration", ""), where)
            values = (row["narration_id"], row["video_id"], *span, split, *labels, *extras)
            for column, value in zip(columns, values, strict=True):
                out[column].append(value)
        refuse_if_all_are_lost(name, len(raw), self.problems[before:])
        return pd.DataFrame(out)


def _read_files(folder: Path) -> dict[str, pd.DataFrame]:
    """Every annotation file there is. Raises ConfigError naming all that are no CSV or lack columns."""
    labels = [f"{task}_class" for task in _CLASS_FILES]
    needed = {name: ["id", "key"] for name in _CLASS_FILES.values()}
    needed |= {name: [*_SPAN_COLUMNS, *(labels if split != "test" else [])] for split, name in _SPLIT_FILES.items()}
    problems = Problems()
    files = {}
    for name, columns in needed.items():
        if (folder / name).exists():
            table = read_csv(folder / name, columns, problems)
            if table is not None:
                files[name] = table
    problems.raise_if_any()
    return files


def _read_classes(folder: Path, files: dict[str, pd.DataFrame]) -> dict[str, list[str]]:
    """Task -> class names. The head's size comes from here, never from the labels present."""
    tasks = {}
    for task, name in _CLASS_FILES.items():
        if files[name]["id"].tolist() != [str(i) for i in range(len(files[name]))]:
            raise ConfigError(f"{folder / name}: ids must be 0, 1, 2, ... without gaps")
        tasks[task] = files[name]["key"].tolist()
    return tasks


def check_ids(segment: str, video: str, what: str) -> None:
    """Raise ValueError unless `video` is PXX_YY or PXX_1YY and `segment` is that, '_' and a number."""
    if not VIDEO_ID.fullmatch(video):
        raise ValueError(f"'{video}' is no video id")
    if not segment.startswith(video + "_"):
        raise ValueError(f"{what} '{segment}' does not belong to video {video}")
    if not _NUMBERED.fullmatch(segment.removeprefix(video)):
        raise ValueError(f"{what} '{segment}' is not {video}_ and a number")


def _label(row: Mapping[Hashable, str], task: str, classes: list[str]) -> int:
    text = row[f"{task}_class"]
    label = class_number(text)
    if label is None or label >= len(classes):
        raise ValueError(f"{task}_class '{text}' is not one of 0..{len(classes) - 1}")
    return label
