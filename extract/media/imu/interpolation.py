"""Interpolate the sensors of IMU recordings by time.

Sensors are separate streams with clocks of their own, so rows are never zipped: each is interpolated at the same
moments. A recording may have gaps; a segment that lies in one was not recorded, whatever lies on both sides.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmcache.extract.media.base.requests import TOLERANCE_S, ImuRequest, NoMedia, Reading

_MIN_COVERAGE = 0.5  # of a segment, below which it counts as not recorded
_GAP_S = 0.5
_GAP_STEPS = 10  # of the usual length: slow sensors have no gaps all the time


@dataclasses.dataclass(frozen=True)
class Stream:
    """One sensor's recording.

    Attributes:
        times: (n,) seconds, ascending; n >= 1.
        values: (n, 3).
        gap_s: samples further apart than this have nothing recorded between them.
    """

    times: NDArray[np.float64]
    values: NDArray[np.float64]
    gap_s: float


def stream_of(times: NDArray[np.float64], values: NDArray[np.float64]) -> Stream:
    """A stream of (n,) seconds in any order and (n, 3) values."""
    if (np.diff(times) < 0).any():
        order = np.argsort(times, kind="stable")
        times, values = times[order], values[order]
    step_s = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    return Stream(times, values, max(_GAP_S, _GAP_STEPS * step_s))


def interpolate(streams: Sequence[Stream], name: str, start_s: float, stop_s: float, request: ImuRequest) -> Reading:
    """All channels of `streams` at `request.points` evenly spaced moments of [start_s, stop_s).

    Args:
        name: of the file, for messages.

    Returns:
        Reading of (points, 3 * len(streams)) float32.

    Raises:
        NoMedia: most of the segment was not recorded.
    """
    first = max(stream.times[0] for stream in streams)
    last = min(stream.times[-1] for stream in streams)
    if math.isinf(stop_s):
        stop_s = last
    if not start_s < stop_s or _unrecorded_s(streams, start_s, stop_s) > (1 - _MIN_COVERAGE) * (stop_s - start_s):
        gaps = ", with gaps" if last > first and _unrecorded_s(streams, first, last) else ""
        raise NoMedia(f"{name} covers {first:.2f} to {last:.2f} s{gaps}, not this segment")
    notes = []
    if start_s < first - TOLERANCE_S:
        notes.append(f"segment starts {first - start_s:.2f} s before the IMU recording; clamped")
        start_s = first
    if stop_s > last + TOLERANCE_S:
        notes.append(f"segment ends {stop_s - last:.2f} s past the IMU recording's end; clamped")
        stop_s = last
    bridged_s = _unrecorded_s(streams, max(start_s, first), min(stop_s, last))
    if bridged_s:
        notes.append(f"{bridged_s:.2f} s of the segment lie in gaps of the IMU recording; bridged")
    start_s, stop_s = request.part_of(start_s, stop_s)
    moments = start_s + (np.arange(request.points) + 0.5) * (stop_s - start_s) / request.points
    channels = [np.interp(moments, s.times, s.values[:, axis]) for s in streams for axis in range(3)]
    return Reading(np.stack(channels, axis=1).astype(np.float32), "; ".join(notes) or None)


def _unrecorded_s(streams: Sequence[Stream], start_s: float, stop_s: float) -> float:
    """For how many seconds of a span one of the streams at least has nothing recorded."""
    holes = sorted(hole for stream in streams for hole in _holes(stream, start_s, stop_s))
    total, until = 0.0, start_s
    for low, high in holes:
        total += max(0.0, high - max(low, until))
        until = max(until, high)
    return total


def _holes(stream: Stream, start_s: float, stop_s: float) -> list[tuple[float, float]]:
    """The parts of a span without samples near enough to each other."""
    low, high = np.searchsorted(stream.times, (start_s, stop_s))
    before_all, after_all = [-np.inf] if low == 0 else [], [np.inf] if high == len(stream.times) else []
    edges = np.concatenate([before_all, stream.times[max(0, low - 1) : high + 1], after_all])
    before, after = edges[:-1], edges[1:]
    hole = after - before > stream.gap_s
    return list(zip(np.maximum(before[hole], start_s), np.minimum(after[hole], stop_s), strict=True))
