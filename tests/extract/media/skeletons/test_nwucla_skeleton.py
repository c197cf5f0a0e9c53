"""Folders of Northwestern-UCLA's skeleton files, written line by line."""

from pathlib import Path

import numpy as np
import pytest

from mmcache.extract.media import read_media
from mmcache.extract.media.base.requests import MediaError, NoMedia, Reading, SkeletonRequest
from mmcache.extract.media.base.source import Source

NAMES = r"frame_(?P<number>[0-9]+)_(?:.*_)?skeletons\.txt"


def block(identity: int, x: float, z: float, state: int = 2) -> str:
    """One skeleton: joint j stands at y = j / 10."""
    return f"{identity}\n" + "".join(f"{x:.6f},{joint / 10:.6f},{z:.6f},{state}\n" for joint in range(20))


def write(folder: Path, frames: dict[int, str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, text in frames.items():
        (folder / f"frame_{number}_tc_{90467319 - number}_skeletons.txt").write_text(text)
        (folder / f"frame_{number}_tc_{90467351 + number}_depth.png").touch()
    (folder / "fileList.txt").write_text("1 frame 90467351\n")
    return folder


def read(folder: Path, frames: int, bodies: int = 2, names: str = NAMES) -> Reading:
    source = Source("nwucla_skeleton", (folder,), names=names)
    return read_media(source, 0, np.inf, SkeletonRequest(frames, bodies, 20))


def test_frames_are_in_the_order_of_their_numbers_not_of_names_or_timecodes(tmp_path: Path) -> None:
    folder = write(tmp_path / "a01_s01_e00", {number: block(1, number / 10, 2.5) for number in (98, 99, 100, 101, 110)})
    array = np.asarray(read(folder, 5).array)
    assert array.shape == (5, 2, 20, 3)
    np.testing.assert_allclose(array[:, 0, 0, 0], [9.8, 9.9, 10.0, 10.1, 11.0], rtol=1e-6)
    np.testing.assert_allclose(array[0, 0, :, 1], np.arange(20) / 10, rtol=1e-6)
    assert (array[:, 0, :, 2] == 2.5).all()
    assert not array[:, 1].any()


def test_the_nearest_comes_first_and_an_empty_file_is_nobody(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "a01_s01_e00",
        {
            1: block(7, 0.25, 3.5) + block(8, 0.75, 2.0),
            2: "",
            3: block(8, 0.75, 2.0) + block(7, 0.25, 3.5) + block(9, 0.5, 1.0),
            4: block(0, 0, 0).replace("0.", "0.") + block(8, 0.75, 2.0),
        },
    )
    array = np.asarray(read(folder, 4, bodies=2).array)
    assert array[:, :, 3, 0].tolist() == [[0.75, 0.25], [0, 0], [0.5, 0.75], [0, 0.75]]


def test_a_skeleton_of_zeros_is_nobody(tmp_path: Path) -> None:
    zeros = "3\n" + "0.0,0.0,0.0,0\n" * 20
    folder = write(tmp_path / "a01_s01_e00", {1: zeros + block(8, 0.75, 2.0)})
    assert np.asarray(read(folder, 1).array)[0, :, 0, 0].tolist() == [0.75, 0]
    with pytest.raises(NoMedia, match="the skeletons of a02_s01_e00 has no frame with a body in it"):
        read(write(tmp_path / "a02_s01_e00", {1: zeros, 2: "", 3: "\n"}), 4)


def test_a_take_without_skeleton_files_has_no_media(tmp_path: Path) -> None:
    folder = write(tmp_path / "a01_s01_e00", {1: block(1, 1, 2)})
    with pytest.raises(NoMedia, match="a01_s01_e00 has no skeletons"):
        read(folder, 4, names=r"frame_(?P<number>\d+)_skeleton\.txt")  # without the s, as some code has it
    with pytest.raises(MediaError, match="gone is not there"):
        read(tmp_path / "gone", 4)


def test_frames_that_the_pictures_lack_are_not_used(tmp_path: Path) -> None:
    folder = write(tmp_path / "a01_s01_e00", {number: block(1, number, 2.5) for number in range(1, 7)})
    for number in (1, 5):
        (folder / f"frame_{number}_tc_{90467351 + number}_depth.png").unlink()
    beside = ((folder, r"frame_(?P<number>\d+)_tc_\d+_depth\.png"),)
    source = Source("nwucla_skeleton", (folder,), names=NAMES, beside=beside)
    array = np.asarray(read_media(source, 0, np.inf, SkeletonRequest(4, 1, 20)).array)
    assert array[:, 0, 0, 0].tolist() == [2, 3, 4, 6]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (block(1, 1, 2)[:-30], "20 lines are no whole number of skeletons of 21"),
        (block(1, 1, 2).replace(",2\n", "\n"), "a joint has other than 4 values"),
        (block(1, 1, 2).replace("1.900000", "one"), "could not convert string to float: 'one'"),
        ("\x00\xff binary", "codec can't decode"),
    ],
)
def test_another_form_is_told_with_the_name_of_the_file(text: str, reason: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "a01_s01_e00", {1: block(1, 1, 2)})
    (folder / "frame_2_tc_5_skeletons.txt").write_text(text, "latin-1")
    with pytest.raises(MediaError, match=rf"frame_2_tc_5_skeletons\.txt is not of the form .*{reason}"):
        read(folder, 4)


def test_joints_that_are_no_numbers_are_0_and_told(tmp_path: Path) -> None:
    folder = write(tmp_path / "a01_s01_e00", {1: block(1, 1, 2).replace("1.900000", "NaN")})
    reading = read(folder, 2)
    assert np.asarray(reading.array)[0, 0, 19].tolist() == [0, 0, 0]
    assert reading.note == "1 joints that are no numbers set to 0"
