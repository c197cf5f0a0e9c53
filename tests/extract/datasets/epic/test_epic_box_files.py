"""Boxes and packed media of EPIC-KITCHENS-100: where they are found, and on which clock."""

import pickle
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest

from mmcache.extract.datasets.epic.epic_kitchens import EpicKitchens
from mmcache.extract.datasets.epic.epic_media import EpicMedia
from mmcache.extract.datasets.epic.epic_sounds import EpicSounds
from mmcache.extract.media.base.source import Source

CLASSES = "id,key,instances,category\r\n0,take,['take'],get"
ROW = "P01_01_0,P01,P01_01,00:00:00.56,00:00:00.00,00:00:01.89,1,113,take plate,take,0,plate,0,['plate'],[0]"
HEADER = (
    "narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,stop_frame,"
    "narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes"
)


@pytest.mark.parametrize("base", [".", "EPIC-KITCHENS"])
@pytest.mark.parametrize(("video", "rate"), [("P01_01", 60.0), ("P01_101", 50.0)])
def test_detections_are_on_the_clock_of_the_extracted_pictures(
    base: str, video: str, rate: float, tmp_path: Path
) -> None:
    path = tmp_path / base / "P01/hand-objects" / f"{video}.pkl"
    path.parent.mkdir(parents=True)
    path.touch()
    assert EpicMedia(tmp_path).source("boxes", video) == Source("epic_boxes", (path,), rate=rate)
    assert EpicMedia(tmp_path).source("boxes", "P01_02") is None


@pytest.mark.parametrize(("count", "rate"), [(146_918, 60.0), (122_432, 50.0)])
def test_detections_of_the_first_wrong_release_are_told_by_their_number(
    count: int, rate: float, tmp_path: Path
) -> None:
    path = tmp_path / "P27/hand-objects/P27_103.pkl"
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle.dumps([b"m"] * count, protocol=3))
    source = EpicMedia(tmp_path).source("boxes", "P27_103")
    assert source is not None
    assert source.rate == rate
    path.write_bytes(b"damaged")
    source = EpicMedia(tmp_path).source("boxes", "P27_103")
    assert source is not None  # reading it will report what is wrong
    assert source.rate == 50.0


def pack(path: Path, *videos: str) -> Path:
    with h5py.File(path, "w") as file:
        for video in videos:
            file.create_group(video)
    return path


def test_packed_pictures_are_entered_by_narration(tmp_path: Path) -> None:
    rgb, flow = pack(tmp_path / "rgb.hdf5", "P01_01", "P01_101"), pack(tmp_path / "flow.hdf5", "P01_01", "P01_101")
    boxes = pack(tmp_path / "detections.hdf5", "P01_01")
    media = EpicMedia(tmp_path, narrations=True)
    source = media.source("rgb", "P01_01")
    assert source == Source("hdf5_frames", (rgb,), entry="P01_01/{id}")
    assert source.of_segment("P01_01_7").entry == "P01_01/P01_01_7"
    assert media.source("flow", "P01_01") == Source("hdf5_flow", (flow,), entry="P01_01/{id}")
    extension = media.source("flow", "P01_101")
    assert extension is not None
    assert extension.gain == pytest.approx(13.333 / 25, rel=1e-3)
    assert media.source("boxes", "P01_01") == Source("hdf5_boxes", (boxes,), rate=60.0, entry="P01_01")
    assert media.source("boxes", "P01_101") is None
    assert media.source("rgb", "P01_02") is None
    folder = tmp_path / "P01/rgb_frames/P01_01"
    folder.mkdir(parents=True)
    assert media.source("rgb", "P01_01") == Source("frames", (folder,), rate=60.0)


def write_epic(root: Path) -> None:
    for name in ("verb", "noun"):
        (root / f"EPIC_100_{name}_classes.csv").write_text(CLASSES)
    (root / "EPIC_100_train.csv").write_text(f"{HEADER}\n{ROW}\n")


def write_sounds(root: Path) -> None:
    header = "annotation_id,participant_id,video_id,start_timestamp,stop_timestamp,start_sample,stop_sample"
    row = "P01_01_0,P01,P01_01,00:00:00.560,00:00:01.890,13440,45360,metal,metal,0"
    (root / "EPIC_Sounds_train.csv").write_text(f"{header},description,class,class_id\n{row}\n")


@pytest.mark.parametrize(
    ("write", "dataset", "expected"), [(write_epic, EpicKitchens, True), (write_sounds, EpicSounds, False)]
)
def test_the_ids_of_epic_sounds_are_no_narrations(
    write: Callable[[Path], None], dataset: type, expected: bool, tmp_path: Path
) -> None:
    """They look the same: frames packed by narration would be those of another moment."""
    write(tmp_path)
    pack(tmp_path / "rgb.hdf5", "P01_01")
    pack(tmp_path / "flow.hdf5", "P01_01")
    found = dataset(tmp_path)
    assert found.problems == []
    for modality in ("rgb", "flow"):
        assert (found.source(modality, "P01_01") is not None) == expected
    assert EpicKitchens.modalities == ("rgb", "flow", "audio", "imu", "boxes")
