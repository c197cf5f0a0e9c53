"""Order the images of a folder by the number in their names that varies.

    frame_0000000010.jpg, clip_00001_480p.jpg, 001,.jpg    one number varies: it is the image's number
    frame_10_tc_90467319.jpg                               several vary together: the one whose steps are the smallest
    t0.033.jpg, img_2024_01_31_12_00_01.png                times: they give an order, but count nothing

Names that differ in more than numbers, and numbers that vary each for itself, are two series in one folder, which
would be mixed or lost: they are refused.
"""

import dataclasses
import functools
import itertools
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmcache.extract.media.base.requests import MediaError
from mmcache.extract.media.images.image_file import SUFFIXES
from mmcache.store.ground.text import printable

_NUMBER = re.compile(r"(?<![\d.])\d+\.\d+(?![\d.])|\d+", re.ASCII)  # 0.033 is one number, 1.2.3 are three
_MOST_NUMBER = 1 << 62  # the nanoseconds of a clock that began in 1970 are a third of it
_TIME = re.compile(
    r"(?<!\d)(?P<second>(?:19|20)\d\d[-_.]?(?:0[1-9]|1[0-2])[-_.]?(?:0[1-9]|[12]\d|3[01])[-_. T]*"
    r"(?:[01]\d|2[0-3])[-_.:h]?[0-5]\d[-_.:m]?[0-5]\d)(?:[-_.,](?P<fraction>\d{1,9}))?(?!\d)",
    re.ASCII,
)
_ONE_SERIES = "put the images of each series into a folder of its own, or rename them so that one number counts them"


@dataclasses.dataclass(frozen=True)
class Numbered:
    """The images of a folder.

    Attributes:
        files: number -> file.
        counted: whether the numbers are those of the names; else they are places in the order of times.
    """

    files: dict[int, Path]
    counted: bool


def numbered_files(
    folder: Path, names: str = "", beside: tuple[tuple[Path, str], ...] = (), counted: bool = False
) -> dict[int, Path]:
    """Number -> file.

    Args:
        names: a regular expression that whole names must match, with the group `number`; empty for every image,
            by the number that varies.
        beside: (folder, names) of files with the same numbers; only numbers that they have too are returned, unless
            there are none at all.
        counted: whether the numbers must count images, as where a rate makes a clock of them.

    Raises:
        MediaError: a folder is not there, its names do not say which image is which, or folders have no number in
            common.
    """
    files = _files(folder, names, counted or bool(beside))
    if not files and not names:
        raise MediaError(_no_images(folder))
    for other, other_names in beside:
        there = _files(other, other_names, True)
        common = {number: path for number, path in files.items() if number in there}
        if not there:
            continue  # another modality's loss
        if files and not common:
            raise MediaError(
                f"no number of an image in {folder.name} is also found in {other.parent.name}/{other.name}"
            )
        files = common
    return files


def _files(folder: Path, names: str, counted: bool) -> dict[int, Path]:
    try:
        found = _list(folder, names, folder.stat().st_mtime_ns)
    except FileNotFoundError as error:
        raise MediaError(f"the folder {folder.name} is not there") from error
    except OSError as error:
        raise MediaError(f"the folder {folder.name} cannot be read: {error.strerror}") from error
    if counted and not found.counted:
        example = next(iter(found.files.values())).name
        raise MediaError(
            f"the names in {folder.name}, such as {printable(example)}, hold times, which do not count images: leave "
            "out the rate, so that they are spread over the segment, or number them"
        )
    return found.files


@functools.lru_cache(maxsize=16)  # neighbouring segments share a video; an hour at 60 Hz is 216,000 names
def _list(folder: Path, names: str, mtime_ns: int) -> Numbered:
    listed = sorted(os.listdir(folder))
    if not names:
        return _by_varying_number(folder, [name for name in listed if not name.startswith(".")])
    pattern = re.compile(names)
    matches = {name: match for name in listed if (match := pattern.fullmatch(name))}
    return Numbered(_unique(folder, {name: int(match["number"]) for name, match in matches.items()}), True)


def _by_varying_number(folder: Path, listed: list[str]) -> Numbered:
    images = [name for name in listed if os.path.splitext(name)[1].lower() in SUFFIXES]
    if not images:
        return Numbered({}, True)
    stems = [os.path.splitext(name)[0] for name in images]
    _check_one_form(folder, images, [_NUMBER.sub("#", stem).casefold() for stem in stems])
    moments = [_moment(stem) for stem in stems]
    if len({moment and moment[0] for moment in moments}) > 1 and None not in moments:
        return _in_order(folder, images, moments)
    numbers = [_NUMBER.findall(stem) for stem in stems]
    varying = [at for at, values in enumerate(zip(*numbers, strict=True)) if len(set(values)) > 1]
    at = (varying or [len(numbers[0]) - 1])[0] if len(varying) <= 1 else _counting(numbers, varying)
    if at is None:
        one, other = images[0], _unlike(images, numbers, varying)
        raise MediaError(
            f"several numbers vary in the names of {folder.name}, such as {printable(one)} and {printable(other)}, and "
            f"none of them gives every image its place: {_ONE_SERIES}"
        )
    column = [each[at] for each in numbers]
    if any("." in value for value in column) and not _is_count(column):
        return _in_order(folder, images, _as_times(folder, images, column))
    counts = (int(value.rpartition(".")[2]) for value in column)
    return Numbered(_unique(folder, dict(zip(images, counts, strict=True))), True)


def _no_images(folder: Path) -> str:
    listed = sorted(os.listdir(folder))
    others = f"{len(listed)} other files, such as {printable(listed[0])}" if listed else "nothing"
    return f"{folder.name} holds no numbered images but {others}; allowed are {', '.join(SUFFIXES)}"


def _check_one_form(folder: Path, images: list[str], texts: list[str]) -> None:
    """Raise MediaError for names without a number, and for names that differ in more than numbers."""
    nameless = [name for name, text in zip(images, texts, strict=True) if "#" not in text]
    if nameless:
        raise MediaError(
            f"{len(nameless)} of the {len(images)} images in {folder.name} have no number in their names, such as "
            f"{printable(nameless[0])}: their order is unknown. Number them, or take out what is no image of it"
        )
    other = next((at for at, text in enumerate(texts) if text != texts[0]), None)
    if other is not None:
        raise MediaError(
            f"{folder.name} holds more than one series of images, such as {printable(images[0])} and "
            f"{printable(images[other])}: {_ONE_SERIES}"
        )


def _counting(numbers: list[list[str]], varying: list[int]) -> int | None:
    """The place of the number that counts images: all others that vary go up with it, and its own range is least."""
    values = {at: np.array([float(each[at]) for each in numbers]) for at in varying}
    good = []
    for at in varying:
        if any("." in each[at] for each in numbers):
            continue
        order = np.argsort(values[at], kind="stable")
        unique = len(np.unique(values[at])) == len(numbers)
        if unique and all((np.diff(values[other][order]) >= 0).all() for other in varying):
            good.append((float(np.ptp(values[at])), at))
    return min(good)[1] if good else None


def _unlike(images: list[str], numbers: list[list[str]], varying: list[int]) -> str:
    """Another image that shares a number with the first one, if any."""
    same = (
        name
        for name, each in zip(images[1:], numbers[1:], strict=True)
        if any(each[at] == numbers[0][at] for at in varying)
    )
    return next(same, images[-1])


def _is_count(column: list[str]) -> bool:
    """Whether decimal numbers are a version and a count (shot1.0001, shot1.0003) and no times, which begin with 0."""
    versions, counts = zip(*(value.partition(".")[::2] for value in column), strict=True)
    if len(set(versions)) > 1 or len(set(map(len, counts))) > 1:
        return False
    steps = np.diff(np.sort(np.array([int(count) for count in counts])))
    return int(versions[0]) > 0 or (len(steps) > 0 and int(steps.min()) <= 1)


def _as_times(folder: Path, images: list[str], column: list[str]) -> list[float]:
    """Decimal numbers as they sort.

    Raises:
        MediaError: 1.10 may also come after 1.9, counted in two levels. Times of different lengths never end in 0.
    """
    fractions = [value.partition(".")[2] for value in column]
    if len(set(map(len, fractions))) > 1 and any(len(each) > 1 and each.endswith("0") for each in fractions):
        raise MediaError(
            f"the numbers in the names of {folder.name}, such as {printable(images[0])}, have fractions of different "
            "lengths, so that 1.10 may come before or after 1.9: write them with as many digits each"
        )
    return [float(value) for value in column]


def _in_order(folder: Path, images: list[str], times: Sequence[Any]) -> Numbered:
    """Images by their place in the order of times."""
    ordered = sorted(zip(times, images, strict=True))
    for (one, name), (other, next_name) in itertools.pairwise(ordered):
        if one == other:
            raise MediaError(_twice(folder, name, next_name))
    return Numbered({place: folder / name for place, (_, name) in enumerate(ordered)}, False)


def _moment(stem: str) -> tuple[str, int, int] | None:
    """The date and time in a name: its digits to the second, then the length and the digits of a fraction."""
    match = _TIME.search(stem)
    if match is None:
        return None
    fraction = match["fraction"] or ""
    return "".join(re.findall(r"\d", match["second"])), len(fraction), int(fraction or 0)


def _unique(folder: Path, numbers: dict[str, int]) -> dict[int, Path]:
    """Number -> file. Raises MediaError naming two files with one number."""
    found: dict[int, str] = {}
    for name, number in numbers.items():
        if number > _MOST_NUMBER:
            raise MediaError(f"{printable(name)} in {folder.name} has a number too large to count images")
        if number in found:
            raise MediaError(_twice(folder, found[number], name))
        found[number] = name
    return {number: folder / name for number, name in found.items()}


def _twice(folder: Path, one: str, other: str) -> str:
    return f"{printable(one)} and {printable(other)} in {folder.name} have the same number: keep one of them"
