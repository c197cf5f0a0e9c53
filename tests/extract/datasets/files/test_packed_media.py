"""Media packed into HDF5: which file holds which modality of which video."""

from pathlib import Path

import h5py
import pytest

from mmcache.extract.datasets.files.packed_media import PackedMedia


def pack(path: Path, *videos: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for video in videos:
            file.create_group(video)
    return path


@pytest.mark.parametrize(
    ("name", "modality"),
    [
        ("rgb.hdf5", "rgb"),
        ("EPIC_RGB_train.h5", "rgb"),
        ("video_frames.hdf5", "rgb"),
        ("dataset.hdf5", "rgb"),
        ("flow.hdf5", "flow"),
        ("Flow_frames.h5", "flow"),
        ("detections.hdf5", "boxes"),
        ("hand-object-boxes.hdf5", "boxes"),
        ("EPIC_audio.hdf5", "audio"),
        ("notes.hdf5", None),
        ("rgb.txt", None),
    ],
)
@pytest.mark.parametrize("folder", [".", "hdf5"])
def test_the_name_of_a_file_says_what_it_holds(folder: str, name: str, modality: str | None, tmp_path: Path) -> None:
    path = pack(tmp_path / folder / name, "P01_01")
    media = PackedMedia(tmp_path)
    for each in ("rgb", "flow", "boxes", "audio"):
        assert media.file(each, "P01_01") == (path if each == modality else None)
        assert media.file(each, "P01_02") is None


def test_a_video_is_taken_from_the_file_that_has_it(tmp_path: Path) -> None:
    train = pack(tmp_path / "rgb_train.hdf5", "P01_01", "P01_02")
    other = pack(tmp_path / "rgb_val.hdf5", "P01_02", "P01_03")
    media = PackedMedia(tmp_path)
    assert [media.file("rgb", f"P01_0{n}") for n in range(1, 5)] == [train, train, other, None]


def test_a_file_that_cannot_be_read_is_left_for_reading_to_report(tmp_path: Path) -> None:
    """A broken download is a failure with a reason, and no missing modality."""
    (tmp_path / "rgb.hdf5").write_bytes(b"no HDF5")
    assert PackedMedia(tmp_path).file("rgb", "P01_01") == tmp_path / "rgb.hdf5"


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert PackedMedia(tmp_path / "none").file("rgb", "P01_01") is None
