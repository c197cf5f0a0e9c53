"""Which image comes first: names as people have them, in an order that is known, or refused."""

import datetime as dt
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmcache.extract.media.base.requests import MediaError
from mmcache.extract.media.images.file_numbering import numbered_files

PROPERTY = settings(max_examples=30)
# {n} is the image's number; all else stays
FORMS = (
    "{n}",
    "frame_{n}",
    "clip_{n}_480p",
    "2024-01-31_cam2_{n}_1920x1080",
    "v1.2.3_{n}",
    "S01E02 ({n})",
    "take7.{n}",
    "{n}_of_900",
    "IMG_{n}_0.5",
    "frame{n},",
)


def folder_of(parent: Path, *names: str) -> Path:
    """A folder of empty files: only names matter here."""
    parent.mkdir(exist_ok=True)
    for name in names:
        (parent / name).touch()
    return parent


def order(folder: Path) -> list[str]:
    files = numbered_files(folder)
    return [files[number].name for number in sorted(files)]


@PROPERTY
@given(
    form=st.sampled_from(FORMS),
    numbers=st.lists(st.integers(1, 99999), min_size=2, max_size=12, unique=True),
    suffix=st.sampled_from([".jpg", ".JPG", ".png", ".webp", ".tif"]),
)
def test_the_number_that_varies_counts_wherever_it_stands(
    form: str, numbers: list[int], suffix: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    names = {number: form.format(n=f"{number:05d}") + suffix for number in numbers}
    folder = folder_of(tmp_path_factory.mktemp("f"), *names.values(), "Thumbs.db", "fileList.txt", ".DS_Store")
    folder_of(folder, *(f"._{name}" for name in names.values()))  # what a Mac leaves behind
    assert {number: path.name for number, path in numbered_files(folder, counted=True).items()} == names


@PROPERTY
@given(
    form=st.sampled_from([form for form in FORMS if "." not in form]),
    numbers=st.lists(st.integers(0, 2000), min_size=2, max_size=12, unique=True),
)
def test_numbers_without_leading_zeros_are_sorted_as_numbers(
    form: str, numbers: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    names = [f"{form.format(n=number)}.jpg" for number in sorted(numbers)]
    assert order(folder_of(tmp_path_factory.mktemp("f"), *names)) == names


@PROPERTY
@given(milliseconds=st.lists(st.integers(0, 20000), min_size=2, max_size=12, unique=True))
def test_decimal_times_are_sorted_as_times(milliseconds: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    names = [f"t{ms / 1000:.3f}.jpg" for ms in sorted(milliseconds)]
    assert order(folder_of(tmp_path_factory.mktemp("f"), *names)) == names


@PROPERTY
@given(
    moments=st.lists(st.datetimes(dt.datetime(1999, 1, 1), dt.datetime(2030, 1, 1)), min_size=2, max_size=8),
    form=st.sampled_from(["img_%Y_%m_%d_%H_%M_%S", "%Y-%m-%d %H.%M.%S x", "IMG_%Y%m%d_%H%M%S", "%Y%m%d%H%M%S_cam1"]),
)
def test_dates_and_times_are_sorted_as_such(
    moments: list[dt.datetime], form: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    seconds = sorted({moment.replace(microsecond=0) for moment in moments})
    names = [moment.strftime(form) + ".png" for moment in seconds]
    assert order(folder_of(tmp_path_factory.mktemp("f"), *names)) == names


@pytest.mark.parametrize(
    "names",
    [
        ["t0.25.jpg", "t0.5.jpg", "t0.75.jpg", "t1.0.jpg", "t1.25.jpg", "t10.5.jpg"],
        ["t0.033.jpg", "t0.967.jpg", "t1.000.jpg", "t1.300.jpg"],
        ["frame_1_tc_90467319_rgb.jpg", "frame_2_tc_90467352_rgb.jpg", "frame_10_tc_90467617_rgb.jpg"],
        ["shot1_0001.jpg", "shot1_0002.jpg", "shot2_0003.jpg"],
        ["0001_t0.033.png", "0002_t0.067.png", "0003_t0.100.png"],
        ["a_20240131_235959_1.jpg", "a_20240131_235959_2.jpg", "a_20240201_000000_1.jpg"],
        ["1403636579763555584.png", "1403636579813555456.png", "1403636579863555584.png"],
        ["only_2024_picture.jpg"],
    ],
    ids=lambda names: names[0],
)
def test_names_as_people_have_them(names: list[str], tmp_path: Path) -> None:
    assert order(folder_of(tmp_path / "f", *reversed(names))) == names


def test_a_version_and_a_count_is_a_count(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "f", *(f"shot1.{n:04d}.png" for n in (7, 8, 9, 10)))
    assert list(numbered_files(folder, counted=True)) == [7, 8, 9, 10]
    several = folder_of(tmp_path / "g", *(f"f{n}_t{33 * n}.png" for n in (7, 8, 10)))
    assert sorted(numbered_files(several, counted=True)) == [7, 8, 10], "the number whose steps are the smallest"


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (
            ["a.jpg", "b.jpg"],
            "2 of the 2 images in f have no number in their names, such as a.jpg: their order is unk",
        ),
        (["1.jpg", "2.jpg", "cover.jpg"], "1 of the 3 images in f have no number in their names, such as cover.jpg"),
        (
            ["left_001.jpg", "left_002.jpg", "right_001.jpg"],
            "f holds more than one series of images, such as left_001.jpg and right_001.jpg: put the images of "
            "each series into a folder of its own",
        ),
        (
            ["frame_1.jpg", "frame_2.jpg", "frame_2_mask.jpg"],
            "more than one series of images, such as frame_1.jpg and",
        ),
        (
            ["cam1_1.jpg", "cam1_2.jpg", "cam2_1.jpg", "cam2_2.jpg"],
            "several numbers vary in the names of f, such as cam1_1.jpg and cam1_2.jpg, and none of them gives every",
        ),
        (["p01_t3.jpg", "p02_t1.jpg", "p03_t2.jpg"], "several numbers vary in the names of f"),
        (["1.jpg", "1.png", "2.jpg"], "1.jpg and 1.png in f have the same number: keep one of them"),
        (["1.jpg", "01.jpg"], "01.jpg and 1.jpg in f have the same number"),
        (["t0.50.jpg", "t0.5.jpg", "t1.0.jpg"], "have fractions of different lengths, so that 1.10 may come before or"),
        (["a1.9.jpg", "a1.10.jpg", "a1.11.jpg"], "have fractions of different lengths"),
        (["x.gif", "y.txt"], "f holds no numbered images but 2 other files, such as x.gif; allowed are .jpg, .jpeg"),
        (["9" * 30 + ".jpg", "1.jpg"], "has a number too large to count images"),
    ],
    ids=lambda value: "" if isinstance(value, str) else "+".join(value)[:40],
)
def test_an_order_that_is_unknown_is_refused(names: list[str], reason: str, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=re.escape(reason)):
        numbered_files(folder_of(tmp_path / "f", *names))


def test_times_are_no_clock_of_numbers(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "f", "t0.00.jpg", "t0.04.jpg", "t1.08.jpg")
    with pytest.raises(MediaError, match=r"the names in f, such as t0\.00\.jpg, hold times, .*: leave out the rate"):
        numbered_files(folder, counted=True)


def test_an_official_pattern_says_which_number_it_is(tmp_path: Path) -> None:
    folder = folder_of(
        tmp_path / "f", "frame_2_tc_5_rgb.jpg", "frame_2_tc_9_depth.png", "frame_1_tc_7_rgb.jpg", "x.jpg"
    )
    files = numbered_files(folder, r"frame_(?P<number>[0-9]+)_(?:.*_)?rgb\.jpg")
    assert {number: path.name for number, path in files.items()} == {
        1: "frame_1_tc_7_rgb.jpg",
        2: "frame_2_tc_5_rgb.jpg",
    }
    folder_of(folder, "frame_2_tc_6_rgb.jpg")
    with pytest.raises(MediaError, match=r"frame_2_tc_5_rgb\.jpg and frame_2_tc_6_rgb\.jpg in f have the same number"):
        numbered_files(folder, r"frame_(?P<number>[0-9]+)_(?:.*_)?rgb\.jpg")
