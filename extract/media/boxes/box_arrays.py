"""Choose the frames of a segment and bring their boxes into one form; shared by all readers of boxes."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mmcache.extract.media.base.requests import TOLERANCE_S, BoxesRequest, MediaError, Reading

COLUMNS = 6  # x1, y1, x2, y2, category, score
EPIC_PIXEL = (1 / 456, 1 / 256)  # the frames that EPIC-KITCHENS' hands and objects were detected on


def boxes_over_time(
    boxes_of: Callable[[int], NDArray[np.float64]],
    span: tuple[int, int],
    clock: tuple[float, float],
    pixel: tuple[float, float],
    start_s: float,
    stop_s: float,
    request: BoxesRequest,
    what: str,
) -> Reading:
    """The boxes of `request.frames` frames of [start_s, stop_s).

    Args:
        boxes_of: frame number -> (n, 6) boxes as the file has them, coordinates as shares of the frame.
        span: the first and last frame there is.
        clock: frames a second, and the number at second 0.
        pixel: width and height of one pixel as shares of the frame; no box is narrower or lower.
        what: the media's name in messages.

    Returns:
        Reading of (frames, boxes, 6) float32.

    Raises:
        MediaError: the segment starts after the last frame, or `boxes_of` raises it.
    """
    (lowest, highest), (rate, first) = span, clock
    end_s = (highest + 1 - first) / rate
    stop_s = end_s if math.isinf(stop_s) else stop_s
    if start_s >= end_s:
        raise MediaError(f"segment starts at {start_s:.2f} s, after the boxes of {what} end ({end_s:.2f} s)")
    notes = []
    if stop_s > end_s + TOLERANCE_S:
        notes.append(f"segment ends {stop_s - end_s:.2f} s past the last frame with boxes; clamped")
    start_s, stop_s = request.part_of(start_s, min(stop_s, end_s))
    moments = start_s + (np.arange(request.frames) + 0.5) * (stop_s - start_s) / request.frames
    numbers = np.clip(np.floor(first + moments * rate + 1e-6).astype(int), lowest, highest).tolist()
    found = {number: arranged(boxes_of(number), pixel, request) for number in sorted(set(numbers))}
    unusable = sum(count for _, count in found.values())
    if unusable:
        notes.append(f"{unusable} boxes of {what} are no finite numbers; left out")
    if not any(boxes.any() for boxes, _ in found.values()):
        notes.append(f"no box in any of the {len(found)} frames of {what} that are looked at")
    return Reading(np.stack([found[number][0] for number in numbers]), "; ".join(notes) or None)


def arranged(
    found: NDArray[np.float64], pixel: tuple[float, float], request: BoxesRequest
) -> tuple[NDArray[np.float32], int]:
    """The surest boxes of one frame in the form of a Reading, and how many were no numbers.

    Corners in the wrong order are swapped, what lies outside the frame is cut off, and what has no extent then is
    one pixel wide: detections and annotations hold all three.

    Args:
        found: (n, 6).

    Returns:
        (request.boxes, 6), rows of zeros after the last one.
    """
    finite = np.isfinite(found).all(axis=1)
    boxes = found[finite & (np.where(finite, found[:, 5], -np.inf) >= request.min_score)].copy()
    for low, high, least in ((0, 2, pixel[0]), (1, 3, pixel[1])):
        edges = np.clip(np.sort(boxes[:, [low, high]], axis=1), 0.0, 1.0)
        narrow = edges[:, 1] - edges[:, 0] < least
        edges[narrow, 0] = np.minimum(edges[narrow, 0], 1.0 - least)
        edges[narrow, 1] = edges[narrow, 0] + least
        boxes[:, [low, high]] = edges
    boxes = boxes[np.argsort(-boxes[:, 5], kind="stable")][: request.boxes]
    out = np.zeros((request.boxes, COLUMNS), np.float32)
    out[: len(boxes)] = boxes
    return out, int((~finite).sum())
