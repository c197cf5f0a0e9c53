"""Accelerometer and gyroscope of a segment, from the one CSV that Ego4D has for a video.

    component_idx,component_timestamp_ms,canonical_timestamp_ms,gyro_x,gyro_y,gyro_z,accl_x,accl_y,accl_z

canonical_timestamp_ms is the clock of the canonical video (github.com/EGO4D/docs, IMU). It may be empty or NULL, and
need not ascend; videos are put together from components, not all of which were recorded with IMU.
"""

import functools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmcache.extract.media.base.regular_file import status_of
from mmcache.extract.media.base.requests import ImuRequest, MediaError, NoMedia, Reading
from mmcache.extract.media.imu.interpolation import Stream, interpolate, stream_of
from mmcache.extract.media.imu.number_table import read_number_table

TIME = "canonical_timestamp_ms"
_ACCL, _GYRO = ("accl_x", "accl_y", "accl_z"), ("gyro_x", "gyro_y", "gyro_z")
# What lies beyond is no measurement: no video lasts a day, and no head is shaken with 100 g.
_TIMES_MS = (-60_000.0, 24 * 3_600_000.0)
_MOST = 1000.0


def read_ego4d_imu(path: Path, start_s: float, stop_s: float, request: ImuRequest) -> Reading:
    """Interpolate both sensors at `request.points` evenly spaced moments of [start_s, stop_s) of the canonical video.

    Returns:
        Reading of (points, 6) float32: accelerometer x, y, z in m/s^2, gyroscope x, y, z in rad/s, uncalibrated.

    Raises:
        NoMedia: most of the segment was not recorded, or one of the sensors not at all.
        MediaError: the file is missing, not of the documented form, or holds no usable row.
    """
    stat = status_of(path)
    streams = _read_csv(path, stat.st_mtime_ns, stat.st_size)
    for sensor, stream in zip(("accelerometer", "gyroscope"), streams, strict=True):
        if stream is None:
            raise NoMedia(f"{path.name} has no measurement of the {sensor}")
    return interpolate([stream for stream in streams if stream is not None], path.name, start_s, stop_s, request)


@functools.lru_cache(maxsize=8)  # neighbouring segments share a video; an hour at 200 Hz is 46 MB
def _read_csv(path: Path, mtime_ns: int, size: int) -> tuple[Stream | None, Stream | None]:
    """Accelerometer and gyroscope; None for a sensor that the device lacks."""
    table = read_number_table(path)
    columns = (TIME, *_ACCL, *_GYRO)
    missing = [column for column in columns if column not in table.header]
    if missing:
        raise MediaError(f"{path.name} lacks the columns {', '.join(missing)}")
    numbers = table.numbers([table.header.index(column) for column in columns], infinite=True)
    times = numbers[:, 0]
    timed = (times >= _TIMES_MS[0]) & (times <= _TIMES_MS[1])
    if len(times) and not timed.any():
        raise MediaError(f"{path.name} has no usable {TIME}: it does not say when in the video it was recorded")
    accl, gyro = (_sensor(times, numbers[:, columns], timed) for columns in (slice(1, 4), slice(4, 7)))
    if accl is None and gyro is None:
        raise MediaError(f"{path.name} has no row of numbers")
    return accl, gyro


def _sensor(times: NDArray[np.float64], values: NDArray[np.float64], timed: NDArray[np.bool_]) -> Stream | None:
    good = timed & (np.abs(values) <= _MOST).all(axis=1)  # NaN is not
    values = values[good]
    return stream_of(times[good] / 1000.0, values) if values.any() else None  # all 0 is no measurement
