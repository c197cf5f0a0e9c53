"""Trees of NTU RGB+D as its archives unpack and as people keep them, by hand."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmcache.extract.datasets import DATASETS
from mmcache.extract.datasets.kinect.ntu import Ntu60, Ntu120
from mmcache.extract.media import read_media
from mmcache.extract.media.base.requests import SkeletonRequest, VideoRequest
from mmcache.extract.media.base.source import Source
from mmcache.extract.planning.extract_config import ExtractConfig
from mmcache.store.feature_store import FeatureStore
from mmcache.store.format.layout import Presence
from mmcache.store.ground.errors import ConfigError, FingerprintError

FIRST = "S001C001P001R001A001"
SECOND = "S001C002P001R001A060"
OTHER_SUBJECT = "S002C003P003R002A012"
NEW = "S018C001P045R001A061"  # of NTU RGB+D 120 alone
ODD = "S019C002P048R001A120"
LIST = """302 of the captured samples in the "NTU RGB+D" dataset have missing or incomplete skeleton data.
If you are working on skeleton-based analysis, please ignore these files in your training and testing procedures.

S001C002P005R002A008
{}
"""
LIST_60, LIST_120 = (f"NTU_RGBD{n}_samples_with_missing_skeletons.txt" for n in ("", "120"))
# The roots of the archives, with and without the '+', a folder for every setup or one for all.
OFFICIAL = [
    f"nturgb+d_rgb/{FIRST}_rgb.avi",
    f"nturgb+d_rgb/{SECOND}_rgb.avi",
    f"nturgbd_rgb_s002/nturgb+d_rgb/{OTHER_SUBJECT}_rgb.avi",
    f"nturgbd_rgb_s018/{NEW}_rgb.avi",
    f"nturgb+d_ir_s001/nturgb+d_ir/{FIRST}_ir.avi",
    f"nturgb+d_depth_masked/{FIRST}/MDepth-00000001.png",
    f"nturgbd_depth_s002/nturgb+d_depth/{OTHER_SUBJECT}/Depth-00000001.png",
    f"nturgb+d_skeletons/{FIRST}.skeleton",
    f"nturgb+d_skeletons/{SECOND}.skeleton",
    f"nturgb+d_skeletons120/nturgb+d_skeletons/{ODD}.skeleton",
]


def tree(root: Path, names: list[str] = OFFICIAL) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tree(tmp_path) / LIST_60).write_text(LIST.format(SECOND))
    return tmp_path


def test_samples_of_every_modality_are_found_by_name_in_any_folder(root: Path) -> None:
    dataset = Ntu60(root)
    assert dataset.segments["id"].tolist() == [FIRST, SECOND, OTHER_SUBJECT]
    assert dataset.problems == []
    found = {
        (modality, video)
        for modality in dataset.modalities
        for video in dataset.segments["id"]
        if dataset.source(modality, video)
    }
    assert found == {
        *(("rgb", video) for video in (FIRST, SECOND, OTHER_SUBJECT)),
        ("ir", FIRST),
        ("depth", FIRST),
        ("depth", OTHER_SUBJECT),
        ("skeleton", FIRST),  # that of SECOND is listed as missing, though a file lies there
    }
    assert dataset.source("rgb", FIRST) == Source("video", (root / OFFICIAL[0],))
    depth = root / f"nturgb+d_depth_masked/{FIRST}"
    assert dataset.source("depth", FIRST) == Source("depth", (depth,), variant="grey")
    assert Ntu60(root, depth="jet").source("depth", FIRST) == Source("depth", (depth,), variant="jet")
    assert dataset.source("skeleton", FIRST) == Source("ntu_skeleton", (root / OFFICIAL[7],))


def test_labels_splits_and_extras_of_60(root: Path) -> None:
    dataset = Ntu60(root)
    table = dataset.segments.set_index("id")
    assert len(dataset.tasks["action"]) == 60
    assert dataset.tasks["action"][0] == "drink water"
    assert dataset.tasks["action"][59] == "walking apart from each other"
    assert table["action"].tolist() == [0, 59, 11]
    assert table["split"].tolist() == table["split_xsub"].tolist() == ["train", "train", "test"]
    assert table["split_xview"].tolist() == ["test", "train", "train"]
    assert "split_xset" not in table
    assert table.loc[OTHER_SUBJECT, ["setup", "camera", "subject", "replication"]].tolist() == [2, 3, 3, 2]
    assert (table["start_s"] == 0).all()
    assert np.isinf(table["stop_s"]).all()
    assert dataset.eval_split == "test"


def test_120_includes_60(root: Path) -> None:
    (root / LIST_120).write_text(LIST.format(FIRST))
    dataset = Ntu120(root)
    table = dataset.segments
    assert table["id"].tolist() == [FIRST, SECOND, OTHER_SUBJECT, NEW, ODD]
    assert table["action"].tolist() == [0, 59, 11, 60, 119]
    assert table["split"].tolist() == table["split_xsub"].tolist() == ["train", "train", "test", "train", "test"]
    assert table["split_xset"].tolist() == ["test", "test", "train", "train", "test"]
    assert "split_xview" not in table
    assert len(dataset.tasks["action"]) == 120
    assert dataset.tasks["action"][60] == "put on headphone"
    assert dataset.source("skeleton", ODD) is not None
    assert dataset.source("skeleton", FIRST) is None
    assert dataset.problems == []


def test_published_numbers_of_subjects() -> None:
    """Half of 40 and half of 106, of which the first 20 are those of 60."""
    from mmcache.extract.datasets.kinect.ntu import _TRAIN_SUBJECTS

    assert len(set(_TRAIN_SUBJECTS)) == len(_TRAIN_SUBJECTS) == 53
    assert sum(subject <= 40 for subject in _TRAIN_SUBJECTS) == 20
    assert max(_TRAIN_SUBJECTS) <= 106


def test_extracted_pictures_of_actionmae_are_found_and_films_preferred(tmp_path: Path) -> None:
    layout = [
        f"rgb/nturgb+d_rgb_s001/frames/{FIRST}_rgb/output0001.png",
        f"ir/nturgb+d_ir_s001/frames/{FIRST}_ir/output0001.png",
        f"depth_color/nturgb+d_depth_masked_s001/nturgb+d_depth_masked/{FIRST}/MDepth-00000001.png",
        f"full/nturgb+d_depth/{FIRST}/Depth-00000001.png",
        f"rgb/nturgb+d_rgb_s001/frames/{SECOND}_rgb/output0001.png",
        f"nturgb+d_rgb/{SECOND}_rgb.avi",
    ]
    dataset = Ntu60(tree(tmp_path, layout))
    assert dataset.source("rgb", FIRST) == Source("frames", ((tmp_path / layout[0]).parent,))
    assert dataset.source("ir", FIRST) == Source("frames", ((tmp_path / layout[1]).parent,))
    assert dataset.source("depth", FIRST) == Source("depth", ((tmp_path / layout[2]).parent,), variant="grey")
    assert dataset.source("rgb", SECOND) == Source("video", (tmp_path / layout[5],))
    assert dataset.problems == [
        f"rgb lies there twice 1 times, such as {SECOND}; one is used",
        f"depth lies there twice 1 times, such as {FIRST}; one is used",
    ]


def test_without_the_list_skeletons_are_taken_and_that_is_told(root: Path) -> None:
    for name, dataset in ((LIST_60, Ntu60), (LIST_120, Ntu120)):
        (root / LIST_60).unlink(missing_ok=True)
        opened = dataset(root)
        assert opened.source("skeleton", SECOND) is not None
        assert len(opened.problems) == 1
        assert opened.problems[0].startswith(f"{name} (of github.com/shahroudy/NTURGB-D) is not in ")


@pytest.mark.parametrize("folder", ["annotations", "Matlab", "NTURGB-D/Matlab"])
def test_lists_are_looked_for_beside_and_where_told(folder: str, tmp_path: Path) -> None:
    root = tree(tmp_path / "data")
    (root / folder).mkdir(parents=True)
    (root / folder / LIST_120).write_text(LIST.format(SECOND))
    assert Ntu60(root).source("skeleton", SECOND) is None
    assert Ntu60(root).problems == []
    assert Ntu60(root, tmp_path / "nowhere").source("skeleton", SECOND) is not None
    assert Ntu60(root, root / folder).source("skeleton", SECOND) is None


def test_a_line_that_names_no_sample_is_told(root: Path) -> None:
    (root / LIST_60).write_text(LIST.format(f"{SECOND}.skeleton"))
    dataset = Ntu60(root)
    assert dataset.problems == [f"{LIST_60} line 5: '{SECOND}.skeleton' names no sample"]


def test_what_is_no_sample_is_told_and_costs_no_other(root: Path) -> None:
    tree(
        root,
        [
            f"npy/{FIRST}.skeleton.npy",
            "nturgb+d_rgb/S001C004P001R001A001_rgb.avi",  # there are three cameras
            "nturgb+d_rgb/S001C001P041R001A001_rgb.avi",  # and 40 subjects
            "nturgb+d_rgb/S001C001P001R001A061_rgb.avi",  # and 60 actions in the setups of 60
            "nturgb+d_rgb/S001C001P001R001A1_rgb.avi",
            "nturgb+d_rgb/readme.txt",
            f"nturgb+d_rgb/._{FIRST}_rgb.avi",
        ],
    )
    dataset = Ntu60(root)
    assert dataset.segments["id"].tolist() == [FIRST, SECOND, OTHER_SUBJECT]
    assert dataset.problems[0] == (
        f"1 files or folders of no known form, such as {FIRST}.skeleton.npy: pickles are not read"
    )
    told = [problem.partition(" is no sample of ntu60")[0] for problem in dataset.problems[1:]]
    assert told == ["S001C001P001R001A061", "S001C001P041R001A001", "S001C004P001R001A001"]


def test_no_sample_is_an_error_that_says_where_they_should_be(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no sample of ntu60 below .*gone \(the folder .*No such file"):
        Ntu60(tmp_path / "gone")
    tree(tmp_path, [OFFICIAL[3]])
    with pytest.raises(ConfigError, match=r"no sample of ntu60 .* Samples are found by name in any folder below"):
        Ntu60(tmp_path)
    assert len(Ntu120(tmp_path).segments) == 1


def test_ids_never_become_paths_and_links_in_circles_end(root: Path) -> None:
    (root / "nturgb+d_rgb" / "again").symlink_to(root)
    dataset = Ntu60(root)
    assert dataset.segments["id"].tolist() == [FIRST, SECOND, OTHER_SUBJECT]
    assert dataset.source("rgb", FIRST) == Source("video", (root / OFFICIAL[0],))
    for video in ("../secret", "S001C001P001R001A099", ""):
        assert dataset.source("rgb", video) is None
    assert dataset.source("sound", FIRST) is None


def test_media_folders_are_not_entered(root: Path) -> None:
    """A walk over 114,480 samples must not look at their frames; links to nowhere and to themselves do it no harm."""
    tree(root, [f"nturgb+d_depth_masked/{FIRST}/{NEW.replace('S018', 'S003')}_rgb.avi"])
    os.symlink(root / "no such folder", root / "broken")
    os.symlink(root / "itself", root / "itself")
    dataset = Ntu60(root)
    assert dataset.segments["id"].tolist() == [FIRST, SECOND, OTHER_SUBJECT]
    assert dataset.problems == [f"{root / 'itself'} cannot be read: Too many levels of symbolic links"]


def skeleton_of(frames: int) -> str:
    """One person who walks along x."""
    lines = [str(frames)]
    for frame in range(frames):
        lines += ["1", "72057594037944738 0 1 1 1 1 0 0.02 0.05 2", "25"]
        lines += [f"{frame / 10} {joint / 15} 3.5 277 191 1036 519 0.2 0 0.9 0 2" for joint in range(25)]
    return "\n".join(lines)


@pytest.mark.slow
def test_a_sample_is_extracted_whole_and_its_modalities_keep_in_step(
    write_video: Callable[..., Path], numbers_of: Callable[..., list[int]], tmp_path: Path
) -> None:
    """Videos as AVI; 60 frames, 58 depth maps and 61 poses of the same two seconds."""
    from mmcache.extract.planning.plan import make_plan
    from mmcache.extract.run.pipeline import NoProgress, run_extract

    root = tmp_path / "ntu"
    for folder in ("nturgb+d_rgb", "nturgb+d_ir", f"nturgb+d_depth_masked/{FIRST}", "nturgb+d_skeletons"):
        (root / folder).mkdir(parents=True)
    for stem in (FIRST, OTHER_SUBJECT):
        film = root / f"nturgb+d_rgb/{stem}_rgb.avi"
        write_video(film, pictures=60, rate=30, codec="mpeg4", form="avi", size=(128, 96))
    write_video(root / f"nturgb+d_ir/{FIRST}_ir.avi", pictures=60, rate=30, codec="mpeg4", form="avi", size=(128, 96))
    for number in range(1, 59):
        values = np.full((30, 40), 500 + 30 * number, np.uint16)
        Image.fromarray(values).save(root / f"nturgb+d_depth_masked/{FIRST}/MDepth-{number:08d}.png")
    for stem in (FIRST, OTHER_SUBJECT):
        (root / f"nturgb+d_skeletons/{stem}.skeleton").write_text(skeleton_of(61))
    (root / LIST_60).write_text(LIST.format(OTHER_SUBJECT))

    assert "ntu60" in DATASETS
    config = ExtractConfig(
        "ntu60",
        root,
        store=tmp_path / "s.zarr",
        modalities=["rgb", "depth", "ir", "skeleton"],
        encoder={"rgb": "swin3d_demo", "depth": "timm:resnet10t", "ir": "timm:resnet10t", "skeleton": "joints"},
        weights="random",
    )
    summary = run_extract(make_plan(config), NoProgress())
    assert summary.failures == []
    store = FeatureStore.open(tmp_path / "s.zarr")
    assert store.segments["id"].tolist() == [FIRST, OTHER_SUBJECT]
    assert store.segments["split_xview"].tolist() == ["test", "train"]
    assert store.present["rgb"].tolist() == [Presence.CACHED] * 2
    for modality in ("depth", "ir", "skeleton"):
        assert store.present[modality].tolist() == [Presence.CACHED, Presence.MISSING]
    assert run_extract(make_plan(config), NoProgress()).settled == 0
    with pytest.raises(FingerprintError, match="variant"):
        run_extract(make_plan(dataclasses.replace(config, set={"depth": "jet"})), NoProgress())
    assert store.tokens["skeleton"].read([0])[0, :, 0].tolist() == sorted(store.tokens["skeleton"].read([0])[0, :, 0])

    dataset = Ntu60(root)
    read = {modality: dataset.source(modality, FIRST) for modality in dataset.modalities}
    assert None not in read.values()
    pictures = VideoRequest(frames=10, short_side=96)
    shown = [
        numbers_of(read_media(read[modality], 0, np.inf, pictures).array)  # type: ignore[arg-type]
        for modality in ("rgb", "ir")
    ]
    depth = np.asarray(read_media(read["depth"], 0, np.inf, pictures).array)[:, 0, 0, 0]  # type: ignore[arg-type]
    poses = np.asarray(read_media(read["skeleton"], 0, np.inf, SkeletonRequest(10, 2, 25)).array)  # type: ignore[arg-type]
    moments = (np.arange(10) + 0.5) / 10
    for found, count in ((shown[0], 60), (shown[1], 60), (depth - 2, 58), (poses[:, 0, 0, 0] * 10, 61)):
        assert np.abs(np.asarray(found, float) - (moments * count).astype(int)).max() <= 1
