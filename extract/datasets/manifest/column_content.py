"""Infer the meaning of a column from its cells, if its name is ambiguous."""

import re
from collections.abc import Callable
from pathlib import PurePosixPath

import pandas as pd

from mmcache.extract.datasets.files.clock import seconds_of
from mmcache.store.segments.splits import TEST, TRAIN, VALIDATION, canonical_split

Cells = "pd.Series[str]"
_LOOKED_AT = 100  # cells whose files are looked for
_VIDEO_FILES = ".mp4 .mkv .avi .mov .webm .m4v .mpg .mpeg .ts .mts .m2ts .wmv .flv .3gp .ogv .h264 .264 .mxf .y4m .gif"
_AUDIO_FILES = ".wav .flac .mp3 .ogg .oga .m4a .aac .opus .wma .aif .aiff .amr .mka"
_MODALITY_OF = {
    **dict.fromkeys(_VIDEO_FILES.split(), "rgb"),
    **dict.fromkeys(_AUDIO_FILES.split(), "audio"),
    ".csv": "imu",
}
_SPAN = re.compile(r"[\[(]?\s*\d+(\.\d*)?\s*(,|;|-|\s)\s*\d+(\.\d*)?\s*[\])]?", re.ASCII)
_DIGIT = re.compile(r"\d")


def filled(cells: "pd.Series[str]") -> "pd.Series[str]":
    return cells[cells != ""]


def are_times(cells: "pd.Series[str]") -> bool:
    """Whether every cell that is not empty is a time in seconds or HH:MM:SS, and there is one."""
    return bool(len(filled(cells))) and all(map(_is_time, filled(cells)))


def have_digits(cells: "pd.Series[str]") -> bool:
    """Whether some cell may be a number; true for a column of empty cells too."""
    return not len(filled(cells)) or any(_DIGIT.search(cell) for cell in filled(cells))


def are_spans(cells: "pd.Series[str]") -> bool:
    """Whether every cell that is not empty holds two numbers, such as 1.5-3 or [1.5, 3], and there is one."""
    return bool(len(filled(cells))) and all(_SPAN.fullmatch(cell) for cell in filled(cells))


def usual_splits(cells: "pd.Series[str]") -> tuple[set[str], bool]:
    """Which of train, validation and test the cells name, and whether they name nothing else."""
    named = {canonical_split(cell) for cell in filled(cells).unique()}
    usual = named & {TRAIN, VALIDATION, TEST}
    return usual, named == usual


def are_paths(cells: "pd.Series[str]", exists: Callable[[str], bool]) -> bool:
    """Whether some cell is an existing file or folder, or every cell has the suffix of a media file."""
    if not len(filled(cells)):
        return False
    return some_exist(cells, exists) or all(_suffix(cell) in _MODALITY_OF for cell in filled(cells))


def some_exist(cells: "pd.Series[str]", exists: Callable[[str], bool]) -> bool:
    return any(exists(cell) for cell in filled(cells).unique()[:_LOOKED_AT])


def modalities_of(cells: "pd.Series[str]") -> set[str]:
    """The modalities of the files that the cells name: what has no suffix of its own is a folder of images."""
    return {_MODALITY_OF.get(_suffix(cell), "rgb") for cell in filled(cells)}


def _suffix(cell: str) -> str:
    return PurePosixPath(cell.replace("\\", "/")).suffix.lower()


def _is_time(cell: str) -> bool:
    try:
        seconds_of(cell)
    except ValueError:
        return False
    return True
