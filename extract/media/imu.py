"""Accelerometer and gyroscope of a segment, from the pair of CSVs that GoPro's extraction tool writes.

Time stamps are made up per packet there, and may differ by some milliseconds between the two sensors.
"""

import functools
from pathlib import Path

import numpy as np

from mmcache.extract.media.base import ImuRequest, MediaError, Reading
from mmcache.extract.media.inertial import Stream, interpolate, read_numbers, stream_of

_TIME = "Milliseconds"
_AXES = (("AcclX", "AcclY", "AcclZ"), ("GyroX", "GyroY", "GyroZ"))


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
    if len(paths) != len(_AXES):
        named = ", ".join(path.name for path in paths)
        raise MediaError(f"{named}: expected two files, of the accelerometer and of the gyroscope")
    streams = [_read_csv(path, axes) for path, axes in zip(paths, _AXES, strict=True)]
    return interpolate(streams, paths[0].name, start_s, stop_s, request)


def _read_csv(path: Path, axes: tuple[str, ...]) -> Stream:
    try:
        stat = path.stat()
    except OSError as error:
        raise MediaError(f"{path.name} is not there") from error
    return _read_csv_cached(path, axes, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=8)  # neighbouring segments share a video; an hour at 200 Hz is 23 MB
def _read_csv_cached(path: Path, axes: tuple[str, ...], mtime_ns: int, size: int) -> Stream:
    numbers = read_numbers(path, (_TIME, *axes))
    numbers = numbers[np.isfinite(numbers).all(axis=1)]
    if not len(numbers):
        raise MediaError(f"{path.name} has no row of numbers")
    return stream_of(numbers[:, 0] / 1000.0, numbers[:, 1:])
