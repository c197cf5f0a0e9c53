"""Detections of EPIC-KITCHENS packed into HDF5, as the code of Radevski et al. (ICCV 2023) reads them.

    file[video][number] = b"[{'box': [x1, y1, x2, y2], 'category': 'hand', 'score': 0.98, 'state': 3, 'side': 1}, ...]"

A Python literal a frame, coordinates as shares of it. Whether the files count frames from 0 or 1 is not published;
a video that has a frame 0 is taken to count from 0.
"""

import ast
import functools
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mmcache.extract.media.base.hdf5_members import find_member, member, named, open_hdf5
from mmcache.extract.media.base.requests import BoxCategory, BoxesRequest, MediaError, NoMedia, Reading
from mmcache.extract.media.boxes.box_arrays import COLUMNS, EPIC_PIXEL, boxes_over_time
from mmcache.store.files.hdf5_reading import names_in, read_whole

_MOST_BYTES = 1 << 17  # of one frame's text; a hundred detections have a tenth of it
_MOST_DIGITS = 9  # of a frame's number
_CATEGORIES = {"hand": BoxCategory.HAND, "object": BoxCategory.OBJECT}


def read_hdf5_boxes(
    path: Path, entry: str, start_s: float, stop_s: float, request: BoxesRequest, rate: float
) -> Reading:
    """Hands and objects of [start_s, stop_s) of the video `entry`.

    Args:
        rate: frames a second.

    Returns:
        Reading of (frames, boxes, 6) float32.

    Raises:
        NoMedia: the file has no such entry.
        MediaError: it cannot be read, or is not of the form above.
    """
    with open_hdf5(path) as file:
        group = find_member(file, entry, named(entry, path))
        if group is None:
            raise NoMedia(f"{path.name} has no detections of {entry}")
        if not isinstance(group, h5py.Group):
            raise MediaError(f"{named(entry, path)} is no group with an entry a frame")
        stat = path.stat()
        base, highest = _span(path, stat.st_mtime_ns, stat.st_size, entry)
        return boxes_over_time(
            lambda number: _boxes(group, number, f"{path.name}: {entry}"),
            span=(base, highest),
            clock=(rate, base - 1.0),  # frame n of the release is called n - 1 where they count from 0
            pixel=EPIC_PIXEL,
            start_s=start_s,
            stop_s=stop_s,
            request=request,
            what=entry,
        )


@functools.lru_cache(maxsize=16)  # neighbouring segments share a video
def _span(path: Path, mtime_ns: int, size: int, entry: str) -> tuple[int, int]:
    """What frames are counted from, and the highest number."""
    where = named(entry, path)
    with open_hdf5(path) as file, member(where):
        group = find_member(file, entry, where)
        names = names_in(group) if isinstance(group, h5py.Group) else []
    numbers = [int(name) for name in names if name.isdecimal() and len(name) <= _MOST_DIGITS]
    if not numbers:
        raise MediaError(f"{where} has no entry named by a number")
    return (0 if min(numbers) == 0 else 1), max(numbers)


def _boxes(group: h5py.Group, number: int, where: str) -> NDArray[np.float64]:
    """(n, 6) of one frame; none where it has no entry."""
    where = f"{where}, frame {number}"
    node = find_member(group, str(number), where)
    if node is None:
        return np.zeros((0, COLUMNS))
    if not isinstance(node, h5py.Dataset) or node.shape != ():
        raise MediaError(f"{where} is no text of at most {_MOST_BYTES} bytes")
    with member(where):
        text = read_whole(node, _MOST_BYTES)
    if isinstance(text, (bytes, str)) and len(text) > _MOST_BYTES:
        raise MediaError(f"{where} is no text of at most {_MOST_BYTES} bytes")
    try:
        found = ast.literal_eval(text.decode() if isinstance(text, bytes) else str(text))
        return np.array([_row(box) for box in found], np.float64).reshape(-1, COLUMNS)
    except (ValueError, SyntaxError, TypeError, KeyError, OverflowError, MemoryError, RecursionError) as error:
        raise MediaError(f"{where} is no list of detections: {str(error)[:200]}") from error


def _row(box: Any) -> tuple[float, ...]:
    x1, y1, x2, y2 = (float(edge) for edge in box["box"])
    return (x1, y1, x2, y2, float(_CATEGORIES[box["category"]]), float(box["score"]))
