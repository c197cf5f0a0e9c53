"""Boxes of one Something-Something video: its part of a JSON file that holds many videos.

    [{"name": "2/0001.jpg", "labels": [{"box2d": {x1, y1, x2, y2}, "category": "cup", ...}, ...]}, ...]
                                            Something-Else, annotated; with `score` where they were detected
    {"id": "2", "frames": [{"frame_objects": [{x1, y1, x2, y2, "category": "hand", "score": 0.9}, ...]}, ...]}
    {"id": "2", "size": [427, 240], "frames": [[{x1, y1, ...}, ...], ...]}
                                            prepared for STLT (BMVC 2021, ICCV 2023)

Coordinates are pixels of the original video. Frames are numbered from 1, twelve a second. Those of Something-Else go
by the number in their names, since frames without any box may be left out; prepared ones by their position.
"""

import functools
import json
import math
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcache.extract.media.av.container import open_container, video_stream
from mmcache.extract.media.av.stream_lengths import stream_end_s
from mmcache.extract.media.base.regular_file import status_of
from mmcache.extract.media.base.requests import BoxCategory, BoxesRequest, MediaError, NoMedia, Reading
from mmcache.extract.media.boxes.box_arrays import COLUMNS, boxes_over_time
from mmcache.store.files.user_file import open_regular, read_regular
from mmcache.store.ground.text import printable

_NUMBER = re.compile(r"(\d+)\.[A-Za-z]+$", re.ASCII)
_HAND = re.compile(r"\bhands?\b", re.IGNORECASE)  # a handbag is none
_MOST_BYTES = 8 << 20  # of one video; real ones have some tens of thousands
_MOST_SIZES_BYTES = 256 << 20  # of the table of sizes, which has 10 MB
_MOST_PIXELS = 1 << 16  # of a side of a frame
_MOST_DIGITS = 7  # of a frame's number


def read_else_boxes(
    paths: tuple[Path, ...],
    video: str,
    extent: tuple[int, int] | None,
    start_s: float,
    stop_s: float,
    request: BoxesRequest,
    rate: float,
    first: float,
) -> Reading:
    """Boxes of [start_s, stop_s), coordinates as shares of the frame.

    Args:
        paths: the JSON of boxes; then, in any order, a JSON of sizes {video: [width, height]} and the video itself.
            The video also says when the segment ends, which the boxes may not.
        extent: first and last byte (exclusive) of the video's part.
        rate, first: frames a second, and the number at second 0.

    Returns:
        Reading of (frames, boxes, 6) float32.

    Raises:
        NoMedia: this video has no annotated frame.
        MediaError: its part does not have the form above, or the size of the frames is unknown.
    """
    path, *others = paths
    item = _part(path, video, extent)
    found, size, bad = _frames(item, path.name, video)
    if not found:
        raise NoMedia(f"{path.name} has no boxes of video {video}")
    size, end_s = _size_and_end(others, video, size)
    highest = max(found)
    if end_s is not None:
        highest = max(highest, math.ceil(first + end_s * rate - 1e-6) - 1)
    scale = np.array([size[0], size[1], size[0], size[1], 1.0, 1.0])
    none = np.zeros((0, COLUMNS))
    reading = boxes_over_time(
        lambda number: found.get(number, none) / scale,
        span=(1, highest),
        clock=(rate, first),
        pixel=(1 / size[0], 1 / size[1]),
        start_s=start_s,
        stop_s=stop_s,
        request=request,
        what=f"video {video}",
    )
    left_out = f"{bad} entries of {path.name} are no numbered frame or no box; left out" if bad else None
    return Reading(reading.array, "; ".join(filter(None, [reading.note, left_out])) or None)


def _size_and_end(
    others: list[Path], video: str, size: tuple[float, float] | None
) -> tuple[tuple[float, float], float | None]:
    """Width and height of the frames of a video, and when it ends (None without the video itself).

    Args:
        others: the table of sizes and the video, as far as they are on disk.
        size: as the file of boxes gives it, if it does.

    Raises:
        MediaError: the size of the frames is unknown.
    """
    table = next((other for other in others if other.suffix == ".json"), None)
    file = next((other for other in others if other.suffix != ".json"), None)
    if size is None and table is not None:
        size = _sizes(table, status_of(table).st_mtime_ns).get(video)
    own_size, end_s = (None, None) if file is None else _video(file)
    size = size or own_size
    if size is None:
        raise MediaError(
            f"boxes of video {video} are in pixels, and the size of its frames is not known: put the video, or "
            "videoid2size.json, into the folder of the data set"
        )
    return size, end_s


def _part(path: Path, video: str, extent: tuple[int, int] | None) -> Any:
    """One video's part of the file, parsed."""
    try:
        with open_regular(path) as file:
            start, stop = extent or (0, os.fstat(file.fileno()).st_size)
            if stop - start > _MOST_BYTES:
                raise MediaError(f"{path.name}: {stop - start:,} bytes for video {video}; {_MOST_BYTES:,} are allowed")
            file.seek(start)
            return json.loads(file.read(stop - start))
    except OSError as error:
        raise MediaError(f"{path.name} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise MediaError(f"{path.name}: the part of video {video} is no JSON: {printable(str(error)[:200])}") from error


def _frames(item: Any, name: str, video: str) -> tuple[dict[int, NDArray[np.float64]], tuple[float, float] | None, int]:
    """Frame number -> (n, 6) boxes in pixels; the size of frames, if given; the number of unusable entries."""
    prepared = isinstance(item, dict)
    frames = item.get("frames") if prepared else item
    if not isinstance(frames, list):
        raise MediaError(f"{name}: the part of video {video} is no list of frames")
    found: dict[int, NDArray[np.float64]] = {}
    bad = 0
    for position, frame in enumerate(frames):
        objects = frame
        number: int | None = position + 1
        if isinstance(frame, dict):
            objects = frame.get("frame_objects") if prepared else frame.get("labels")
        if not prepared:
            match = _NUMBER.search(str(frame.get("name"))) if isinstance(frame, dict) else None
            number = int(match[1]) if match and len(match[1]) <= _MOST_DIGITS else None
        if number is None or not isinstance(objects, list):
            bad += 1
            continue
        if number in found:
            raise MediaError(f"{name}: video {video} has frame {number} twice")
        rows = [_row(each) for each in objects]
        bad += rows.count(None)
        found[number] = np.array([row for row in rows if row], np.float64).reshape(-1, COLUMNS)
    if bad and not any(len(rows) for rows in found.values()):
        raise MediaError(f"{name}: none of the boxes of video {video} is of the form {{x1, y1, x2, y2, category}}")
    return found, _size(item.get("size")) if prepared else None, bad


def _row(box: Any) -> tuple[float, ...] | None:
    """x1, y1, x2, y2, category, score of one box, or None where it is not of the form."""
    try:
        corners = box.get("box2d", box)
        edges = tuple(float(corners[edge]) for edge in ("x1", "y1", "x2", "y2"))
        standard, category = box.get("standard_category"), str(box.get("category", ""))
        hand = standard == "hand" if standard else bool(_HAND.search(category))
        return (*edges, float(BoxCategory.HAND if hand else BoxCategory.OBJECT), float(box.get("score", 1.0)))
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        return None


def _size(found: Any) -> tuple[float, float] | None:
    """Width and height in pixels, or None."""
    if not isinstance(found, list) or len(found) != 2:
        return None
    good = all(type(side) in (int, float) and 1 <= side <= _MOST_PIXELS for side in found)
    return (float(found[0]), float(found[1])) if good else None


@functools.lru_cache(maxsize=2)
def _sizes(path: Path, mtime_ns: int) -> dict[str, tuple[float, float]]:
    """Video -> width, height."""
    try:
        table = json.loads(read_regular(path, _MOST_SIZES_BYTES))
        sizes = {video: _size(size) for video, size in table.items()}
    except (OSError, ValueError, RecursionError, AttributeError) as error:
        raise MediaError(f"{path.name} is no table of sizes: {printable(str(error)[:200])}") from error
    return {video: size for video, size in sizes.items() if size}


def _video(path: Path) -> tuple[tuple[float, float] | None, float | None]:
    """The size of a video's frames, and when they end."""
    with open_container(path) as container:
        try:
            stream = video_stream(container, path)
        except NoMedia:
            return None, None
        size = (float(stream.width), float(stream.height)) if stream.width and stream.height else None
        return size, stream_end_s(container, stream, path)
