"""Accelerometer and gyroscope of a segment, interpolated by time.

The two sensors are separate streams with clocks of their own (GoPro time stamps are made up per packet and may
differ by some milliseconds between them), so rows are never zipped: each is interpolated at the same moments.
"""

import functools
import math
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmcache.extract.media.base import TOLERANCE_S, ImuRequest, MediaError, NoMedia, Reading

_TIME = "Milliseconds"
_AXES = (("AcclX", "AcclY", "AcclZ"), ("GyroX", "GyroY", "GyroZ"))
_MIN_COVERAGE = 0.5  # of a segment, below which it counts as not recorded


def read_imu(paths: tuple[Path, ...], start_s: float, stop_s: float, request: ImuRequest) -> Reading:
    """Interpolate both sensors at `request.points` evenly spaced moments of [start_s, stop_s).

    Args:
        paths: the accelerometer's CSV and the gyroscope's, with the headers of the GoPro extraction tool.

    Returns:
        Reading of (points, 6) float32: accelerometer x, y, z in m/s^2, gyroscope x, y, z in rad/s.

    Raises:
        NoMedia: most of the segment lies outside the recording (which often ends before the video).
        MediaError: a file is missing, not of the documented form, or holds no usable row.
    """
    streams = [_read_csv(path, axes) for path, axes in zip(paths, _AXES, strict=True)]
    first = max(times[0] for times, _ in streams)
    last = min(times[-1] for times, _ in streams)
    if math.isinf(stop_s):
        stop_s = last
    if min(stop_s, last) - max(start_s, first) < _MIN_COVERAGE * (stop_s - start_s):
        raise NoMedia(f"{paths[0].name} covers {first:.2f} to {last:.2f} s, not this segment")
    notes = []
    if start_s < first - TOLERANCE_S:
        notes.append(f"segment starts {first - start_s:.2f} s before the IMU recording; clamped")
        start_s = first
    if stop_s > last + TOLERANCE_S:
        notes.append(f"segment ends {stop_s - last:.2f} s past the IMU recording's end; clamped")
        stop_s = last
    start_s, stop_s = request.part_of(start_s, stop_s)
    moments = start_s + (np.arange(request.points) + 0.5) * (stop_s - start_s) / request.points
    channels = [np.interp(moments, times, values[:, axis]) for times, values in streams for axis in range(3)]
    return Reading(np.stack(channels, axis=1).astype(np.float32), "; ".join(notes) or None)


def _read_csv(path: Path, axes: tuple[str, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(n,) seconds, ascending, and (n, 3) values."""
    try:
        stat = path.stat()
    except OSError as error:
        raise MediaError(f"{path.name} is not there") from error
    return _read_csv_cached(path, axes, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=8)  # neighbouring segments share a video; an hour at 200 Hz is 23 MB
def _read_csv_cached(
    path: Path, axes: tuple[str, ...], mtime_ns: int, size: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    try:
        # By header: rows with a cell too many lose that cell, and do not move by a column.
        table = pd.read_csv(path, index_col=False, usecols=lambda name: name in (_TIME, *axes))
    except (ValueError, OSError) as error:
        raise MediaError(f"{path.name} is not a readable CSV: {' '.join(str(error).split())}") from error
    missing = [column for column in (_TIME, *axes) if column not in table.columns]
    if missing:
        raise MediaError(f"{path.name} lacks the columns {', '.join(missing)}")
    numbers = table[[_TIME, *axes]].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    numbers = numbers[np.isfinite(numbers).all(axis=1)]
    if not len(numbers):
        raise MediaError(f"{path.name} has no row of numbers")
    numbers = numbers[np.argsort(numbers[:, 0], kind="stable")]
    return numbers[:, 0] / 1000.0, numbers[:, 1:]
