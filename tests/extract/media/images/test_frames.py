"""Folders of numbered images, each of which shows its number."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from mmcache.extract.media import read_media
from mmcache.extract.media.base.requests import MediaError, Reading, VideoRequest
from mmcache.extract.media.base.source import Source
from mmcache.extract.media.images.frames import read_flow, read_frames

PROPERTY = settings(max_examples=40)


def write_pictures(folder: Path, numbers: Iterable[int], name: str = "frame_{:010d}.png", size: int = 8) -> Path:
    """PNG, so that an image's grey is its number exactly."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        Image.new("L", (2 * size, size), number).save(folder / name.format(number))
    return folder


def shown(reading: Reading) -> list[int]:
    """The numbers of the images."""
    pictures: NDArray[np.uint8] = np.asarray(reading.array)
    assert (pictures == pictures[:, :1, :1]).all()
    return pictures[:, 0, 0, 0].tolist()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images 1 to 120: two seconds of EPIC-KITCHENS-55 at 60 a second."""
    return write_pictures(tmp_path_factory.mktemp("frames") / "P01_01", range(1, 121))


@PROPERTY
@given(start=st.integers(0, 110), length=st.integers(1, 60), frames=st.integers(1, 12))
def test_the_picture_of_a_moment_is_that_of_the_official_frame_numbers(
    start: int, length: int, frames: int, folder: Path
) -> None:
    """floor(seconds * 60), with 0 mapped to 1."""
    start_s, stop_s = start / 60, min(start + length, 120) / 60
    moments = start_s + (np.arange(frames) + 0.5) / frames * (stop_s - start_s)
    reading = read_frames(folder, start_s, stop_s, VideoRequest(frames, 8), 60.0, 0)
    assert shown(reading) == np.maximum(1, np.floor(moments * 60 + 1e-6)).astype(int).tolist()
    assert reading.array.shape == (frames, 8, 16, 3)
    assert reading.note is None


def test_numbers_are_sorted_as_numbers_and_found_in_any_name(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "f", range(1, 13), "frame_{}_rgb.png")
    (folder / "fileList.txt").write_text("12 files")
    (folder / "Thumbs.db").touch()
    assert shown(read_frames(folder, 0, np.inf, VideoRequest(12, 8), None, 0)) == list(range(1, 13))
    comma = write_pictures(tmp_path / "g", [1, 2, 10], "{:03d},.png")
    assert shown(read_frames(comma, 0, np.inf, VideoRequest(3, 8), None, 0)) == [1, 2, 10]


def test_a_folder_that_is_one_segment_is_spread_over_it(folder: Path) -> None:
    assert shown(read_frames(folder, 0, np.inf, VideoRequest(4, 8), None, 0)) == [16, 46, 76, 106]
    assert shown(read_frames(folder, 0, np.inf, VideoRequest(4, 8), 60.0, 1)) == [16, 46, 76, 106]


def test_the_shorter_side_gets_the_asked_size(tmp_path: Path) -> None:
    write_pictures(tmp_path / "f", [1], size=48)
    assert read_frames(tmp_path / "f", 0, 1, VideoRequest(1, 32), None, 0).array.shape == (1, 32, 64, 3)


def test_single_missing_pictures_are_replaced_and_noted_a_hole_is_an_error(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "f", [n for n in range(1, 61) if n not in (10, 11, *range(30, 50))])
    reading = read_frames(folder, 5 / 60, 15 / 60, VideoRequest(10, 8), 60.0, 0)
    assert shown(reading) == [5, 6, 7, 8, 9, 9, 9, 12, 13, 14]
    assert reading.note == "2 missing images replaced by the ones before them"
    with pytest.raises(MediaError, match=r"f lacks image 49 and those 0\.33 s before it"):
        read_frames(folder, 0, 1, VideoRequest(60, 8), 60.0, 0)


def test_the_end_is_clamped_with_a_note_and_past_it_is_an_error(folder: Path) -> None:
    reading = read_frames(folder, 1.5, 3.0, VideoRequest(2, 8), 60.0, 0)
    assert reading.note == "segment ends 0.98 s past the last image; clamped"
    assert max(shown(reading)) <= 120
    with pytest.raises(MediaError, match=r"starts at 5\.00 s, after the images of P01_01 end \(2\.02 s\)"):
        read_frames(folder, 5.0, 6.0, VideoRequest(2, 8), 60.0, 0)


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    request = VideoRequest(2, 8)
    with pytest.raises(MediaError, match="the folder gone is not there"):
        read_frames(tmp_path / "gone", 0, 1, request, 60.0, 0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(MediaError, match=r"empty holds no numbered images but nothing; allowed are \.jpg, "):
        read_frames(tmp_path / "empty", 0, 1, request, 60.0, 0)
    (tmp_path / "file").touch()
    with pytest.raises(MediaError, match="the folder file cannot be read: Not a directory"):
        read_frames(tmp_path / "file", 0, 1, request, 60.0, 0)
    for content in (b"", b"\xff\xd8\xff\xe0 no picture", b"<html>"):
        folder = tmp_path / "damaged"
        folder.mkdir(exist_ok=True)
        (folder / "frame_0000000001.jpg").write_bytes(content)
        with pytest.raises(MediaError, match=r"frame_0000000001\.jpg is no readable image"):
            read_frames(folder, 0, 1, request, None, 0)
    whole = write_pictures(tmp_path / "cut", [1], size=64) / "frame_0000000001.png"
    whole.write_bytes(whole.read_bytes()[:-40])
    with pytest.raises(MediaError, match="is no readable image"):
        read_frames(whole.parent, 0, 1, request, None, 0)


def test_flow_is_u_and_v_and_nothing_where_nothing_moves(tmp_path: Path) -> None:
    write_pictures(tmp_path / "u", range(100, 160))
    write_pictures(tmp_path / "v", range(100, 160))
    source = Source("flow", (tmp_path / "u", tmp_path / "v"), rate=30.0, first=100)
    pictures = np.asarray(read_media(source, 0.0, 2.0, VideoRequest(60, 8)).array)
    assert pictures.shape == (60, 8, 16, 3)
    assert pictures[:, 0, 0, 0].tolist() == pictures[:, 0, 0, 1].tolist() == list(range(100, 160))
    assert (pictures[..., 2] == 128).all()


@pytest.mark.parametrize("gain", [8 / 25 * 50 / 30, 1.0, 3.0])
def test_flow_of_another_bound_means_the_same_displacement(gain: float, tmp_path: Path) -> None:
    numbers = [1, 100, 128, 140, 255]
    folders = write_pictures(tmp_path / "u", numbers), write_pictures(tmp_path / "v", numbers)
    pictures = np.asarray(read_flow(folders, 0, np.inf, VideoRequest(5, 8), None, 0, gain).array)
    expected = np.clip((np.array(numbers) - 128) * gain + 128, 0, 255)
    assert np.abs(pictures[:, 0, 0, 0] - expected).max() <= 0.5
    assert pictures[2, 0, 0].tolist() == [128, 128, 128]


def test_a_moment_of_which_one_axis_is_missing_is_a_missing_picture(tmp_path: Path) -> None:
    folders = (
        write_pictures(tmp_path / "u", range(1, 31)),
        write_pictures(tmp_path / "v", [*range(1, 10), *range(11, 31)]),
    )
    reading = read_flow(folders, 0, 1, VideoRequest(30, 8), 30.0, 1, 1.0)
    assert shown(Reading(np.asarray(reading.array)[..., :1]))[8:11] == [9, 9, 11]
    assert reading.note == "1 missing images replaced by the ones before them"


@pytest.mark.parametrize(
    ("step", "rate"), [(50_000_000, 20.0), (33, 30.0), (5, 6.0)], ids=["nanoseconds", "milliseconds", "every fifth"]
)
def test_a_rate_that_counts_pictures_where_names_count_something_else_is_refused(
    step: int, rate: float, tmp_path: Path
) -> None:
    """Numbers since 1970 in nanoseconds would else give the first image for every moment."""
    begin = 1_403_636_579_763_555_584 if step > 1000 else 0
    for place in range(12):
        write_pictures(tmp_path / "f", [place], f"{begin + place * step}.png")
    with pytest.raises(MediaError, match=rf"the numbers in f go up by {step:,}, .* how many numbers make a second"):
        read_frames(tmp_path / "f", 0.0, 0.4, VideoRequest(4, 8), rate, float(begin))
    said = step * 20.0  # twenty images a second
    assert shown(read_frames(tmp_path / "f", 0.0, 0.4, VideoRequest(4, 8), said, float(begin))) == [1, 3, 5, 7]
