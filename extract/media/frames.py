"""Pictures of a segment from a folder of numbered JPEG or PNG files, and optical flow from two of them.

Numbers in file names are a clock: the picture on screen at second t is number `first + rate * t`, rounded down. Files
are found by the last number in their names, or by a pattern where the last number is another one, and sorted by it,
never by name (frame_10 comes after frame_2).
"""

import functools
import math
import os
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmcache.extract.media.base import TOLERANCE_S, MediaError, Reading, VideoRequest

_NUMBER = re.compile(r"(?P<number>\d+)\D*$")
_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")


def read_frames(
    folder: Path,
    start_s: float,
    stop_s: float,
    request: VideoRequest,
    rate: float | None,
    first: float,
    names: str = "",
    beside: tuple[tuple[Path, str], ...] = (),
) -> Reading:
    """`request.frames` pictures of [start_s, stop_s).

    Args:
        rate: numbers a second; None where the folder is the segment: its pictures are then spread over it evenly.
        first: the number at second 0.
        names, beside: as in numbered_files.

    Returns:
        Reading of (frames, H, W, 3) uint8 RGB, the shorter side scaled to `request.short_side`.

    Raises:
        MediaError: there is no such folder, it has no pictures, they end before the segment does, or one is damaged.
    """
    files = numbered_files(folder, names, beside)
    chosen, note = choose_pictures(files, folder, start_s, stop_s, request, rate, first)
    pictures = {number: _picture(files[number], request.short_side, "RGB") for number in sorted(set(chosen))}
    return Reading(np.stack([pictures[number] for number in chosen]), note)


def read_flow(
    folders: tuple[Path, ...],
    start_s: float,
    stop_s: float,
    request: VideoRequest,
    rate: float | None,
    first: float,
    gain: float,
) -> Reading:
    """Optical flow as pictures: horizontal and vertical displacement, 128 = none, from the folders of u and v.

    Args:
        gain: what displacements are multiplied by, so that releases of other strides and bounds mean the same.

    Returns:
        Reading of (frames, H, W, 3) uint8: u, v, and 128, for networks that take three channels.
    """
    u_files, v_files = (numbered_files(folder) for folder in folders)
    both = {number: u_files[number] for number in u_files if number in v_files}
    chosen, note = choose_pictures(both, folders[0].parent, start_s, stop_s, request, rate, first)
    pictures = {}
    for number in sorted(set(chosen)):
        u, v = (_picture(files[number], request.short_side, "L") for files in (u_files, v_files))
        if u.shape != v.shape:
            raise MediaError(f"{u_files[number].name}: u is {u.shape[::-1]} pixels, v is {v.shape[::-1]}")
        flow = np.stack([_scaled(u, gain), _scaled(v, gain), np.full_like(u, 128)], axis=-1)
        pictures[number] = flow
    return Reading(np.stack([pictures[number] for number in chosen]), note)


def _scaled(displacement: NDArray[np.uint8], gain: float) -> NDArray[np.uint8]:
    if gain == 1.0:
        return displacement
    return np.clip(np.rint((displacement.astype(np.float32) - 128) * gain + 128), 0, 255).astype(np.uint8)


def choose_pictures(
    files: dict[int, Path],
    folder: Path,
    start_s: float,
    stop_s: float,
    request: VideoRequest,
    rate: float | None,
    first: float,
) -> tuple[list[int], str | None]:
    """The numbers of the pictures on screen at evenly spread moments, and a note where some had to be replaced."""
    if not files:
        raise MediaError(f"{folder.name} holds no numbered JPEG or PNG files")
    there = np.array(sorted(files))
    shares = (np.arange(request.frames) + 0.5) / request.frames
    if rate is None:
        low, high = request.part_of(0.0, 1.0)
        shares = low + shares * (high - low)
        return there[(shares * len(there)).astype(int)].tolist(), None
    lowest, highest = int(there[0]), int(there[-1])
    end_s = (highest + 1 - first) / rate
    if math.isinf(stop_s):
        stop_s = end_s
    if start_s >= end_s:
        raise MediaError(f"segment starts at {start_s:.2f} s, after the pictures of {folder.name} end ({end_s:.2f} s)")
    note = None
    if stop_s > end_s + TOLERANCE_S:
        note = f"segment ends {stop_s - end_s:.2f} s past the last picture; clamped"
    stop_s = min(stop_s, end_s)
    start_s, stop_s = request.part_of(start_s, stop_s)
    moments = start_s + shares * (stop_s - start_s)
    wanted = np.clip(np.floor(first + moments * rate + 1e-6).astype(int), lowest, highest)
    # A picture that is missing is replaced by the last one before it, as a screen would show it.
    shown = there[np.searchsorted(there, wanted, side="right") - 1]
    gap_s = float((wanted - shown).max()) / rate
    if gap_s > TOLERANCE_S:
        number = int(wanted[np.argmax(wanted - shown)])
        raise MediaError(f"{folder.name} lacks picture {number} and those {gap_s:.2f} s before it")
    lacking = int((wanted != shown).sum())
    if lacking:
        note = "; ".join(filter(None, [note, f"{lacking} missing pictures replaced by the ones before them"]))
    return shown.tolist(), note


def numbered_files(folder: Path, names: str = "", beside: tuple[tuple[Path, str], ...] = ()) -> dict[int, Path]:
    """Number -> file.

    Args:
        names: a regular expression that whole names must match, with the group `number`; empty for every picture,
            by the last number in its name.
        beside: (folder, names) of files with the same numbers; only numbers that they have too are returned, unless
            there are none at all.

    Raises:
        MediaError: a folder is not there, or they have no number in common.
    """
    files = _files(folder, names)
    for other, other_names in beside:
        there = _files(other, other_names)
        common = {number: path for number, path in files.items() if number in there}
        if not there:
            continue  # another modality's loss
        if files and not common:
            raise MediaError(
                f"no number of a picture in {folder.name} is also found in {other.parent.name}/{other.name}"
            )
        files = common
    return files


def _files(folder: Path, names: str) -> dict[int, Path]:
    try:
        return _list(folder, names, folder.stat().st_mtime_ns)
    except FileNotFoundError as error:
        raise MediaError(f"the folder {folder.name} is not there") from error
    except OSError as error:
        raise MediaError(f"the folder {folder.name} cannot be read: {error.strerror}") from error


@functools.lru_cache(maxsize=16)  # neighbouring segments share a video; an hour at 60 Hz is 216,000 names
def _list(folder: Path, names: str, mtime_ns: int) -> dict[int, Path]:
    pattern = re.compile(names) if names else None
    found = {}
    for name in sorted(os.listdir(folder)):  # of two files with one number always the same one is taken
        if pattern is not None:
            match = pattern.fullmatch(name)
        else:
            stem, suffix = os.path.splitext(name)
            match = _NUMBER.search(stem) if suffix.lower() in _SUFFIXES else None
        if match:
            found[int(match["number"])] = folder / name
    return found


def _picture(path: Path, short_side: int, mode: str) -> NDArray[np.uint8]:
    """(H, W, 3) or (H, W), the shorter side scaled."""
    try:
        with Image.open(path) as image:
            converted = image.convert(mode)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # PIL's own kinds
        raise MediaError(f"{path.name} is no readable picture: {' '.join(str(error).split())[:200]}") from error
    scale = short_side / min(converted.size)
    size = (round(converted.width * scale), round(converted.height * scale))
    return np.asarray(converted if size == converted.size else converted.resize(size, Image.Resampling.BILINEAR))
