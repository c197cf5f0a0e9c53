"""Accelerometer and gyroscope of a segment, from one CSV for both sensors or from one each.

imu_columns.py says how columns are found; GoPro's extraction tool, whose pairs EPIC-KITCHENS has, writes `Milliseconds,
AcclX, ...` and `Milliseconds, GyroX, ...`. Units that neither names nor settings say follow these rules:

    time          the one unit in which the sensor has a plausible rate, 1 to 8,000 Hz; of two units one has to be said
    acceleration  m/s^2, if it is about as large as gravity; else it has to be said
    rotation      rad/s, if no gyroscope's range is exceeded; else it has to be said
    second 0      the first sample, where the clock counts from 1970; 0 on the clock, where the table begins within a
                  minute of it; else it has to be said

Nothing is sorted: a clock that goes back means recordings that were pasted together.
"""

import dataclasses
import functools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmcache.extract.media.base.regular_file import status_of
from mmcache.extract.media.base.requests import ImuRequest, MediaError, Reading
from mmcache.extract.media.imu.imu_columns import (
    ACCELERATION_UNITS,
    ACCELEROMETER,
    CHANNELS,
    ROTATION_UNITS,
    TIME,
    TIME_UNITS,
    find_columns,
    parse_columns,
)
from mmcache.extract.media.imu.interpolation import interpolate, stream_of
from mmcache.extract.media.imu.number_table import NumberTable, read_number_table

_RATES_HZ = (1.0, 8000.0)
_GRAVITY = (4.0, 30.0)  # m/s^2: the middle acceleration of a sensor that feels gravity, worn by people or machines
_FASTEST = 35.0  # rad/s: 2000 degrees a second, the widest range of the usual gyroscopes
_FASTER_SHARE = 1e-3  # of the samples may lie beyond it
_SINCE_1970_S = 1e8  # a clock that shows more counts from 1970, of which this is 1973
_FIRST_MINUTE_S = 60.0
_MOST_REPEATED = 0.01  # of the samples may have the time of the one before
_MOST = 1e4  # m/s^2 or rad/s, beyond which nothing is a measurement
# What the names of GoPro's extraction tool mean, whatever the values.
_GOPRO = ("Milliseconds", ("AcclX", "GyroX"))
_GOPRO_UNITS = {"acceleration_unit": "m/s^2", "rotation_unit": "rad/s"}


@dataclasses.dataclass(frozen=True)
class _Recording:
    """What one file holds.

    Attributes:
        sensors: accelerometer or gyroscope -> (n,) seconds on the file's clock and (n, 3) values in m/s^2 or rad/s.
        zero: the meaning of second 0, if the form of the file fixes it.
        notes: what was left out.
    """

    sensors: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]
    zero: str
    notes: tuple[str, ...]


def read_imu(paths: tuple[Path, ...], start_s: float, stop_s: float, request: ImuRequest, columns: str = "") -> Reading:
    """Interpolate both sensors at `request.points` evenly spaced moments of [start_s, stop_s).

    Args:
        paths: the CSV of both sensors, or the accelerometer's and the gyroscope's.
        columns: the setting imu_columns.

    Returns:
        Reading of (points, 6) float32: accelerometer x, y, z in m/s^2, gyroscope x, y, z in rad/s. A sensor that the
        setting declares absent is 0.

    Raises:
        NoMedia: most of the segment lies outside the recording (which often ends before the video).
        MediaError: a file is missing, or its columns, units or times are not understood; the message says which.
    """
    given = parse_columns(columns)
    wanted = tuple(sensor for sensor in CHANNELS if sensor not in given.absent)
    if len(paths) > 2:
        raise MediaError(f"{', '.join(path.name for path in paths)}: expected one file, or one of each sensor")
    shares = [wanted] if len(paths) == 1 else [(sensor,) for sensor in CHANNELS]
    read = [_read(path, sensors, columns) for path, sensors in zip(paths, shares, strict=True) if sensors[0] in wanted]
    sensors = {sensor: stream for recording in read for sensor, stream in recording.sensors.items()}
    first_s = min(float(times[0]) for times, _ in sensors.values())
    zero_s = _zero(first_s, given.zero or read[0].zero, paths[0].name)
    streams = [stream_of(times - zero_s, values) for times, values in (sensors[sensor] for sensor in wanted)]
    reading = interpolate(streams, paths[0].name, start_s, stop_s, request)
    samples = np.zeros((request.points, 6), np.float32)
    for place, sensor in enumerate(wanted):
        at = 3 * list(CHANNELS).index(sensor)
        samples[:, at : at + 3] = reading.array[:, 3 * place : 3 * place + 3]
        most = float(np.abs(samples[:, at : at + 3]).max())
        if most > _MOST:
            raise MediaError(
                f"{paths[0].name}: a value of {most:.3g} in this segment is no measurement of the {sensor}"
            )
    notes = [reading.note, *(note for recording in read for note in recording.notes)]
    return Reading(samples, "; ".join(filter(None, notes)) or None)


def _read(path: Path, sensors: tuple[str, ...], columns: str) -> _Recording:
    stat = status_of(path)
    return _read_cached(path, sensors, columns, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=8)  # neighbouring segments share a video; an hour at 200 Hz is 23 MB a sensor
def _read_cached(path: Path, sensors: tuple[str, ...], columns: str, mtime_ns: int, size: int) -> _Recording:
    table = read_number_table(path)
    given = parse_columns(columns)
    try:
        found = find_columns(table.header, given, sensors, alone=len(sensors) == 1)
    except MediaError as error:
        raise MediaError(f"{path.name}: {error}") from error
    gopro = _GOPRO[0] in table.header and any(name in table.header for name in _GOPRO[1])
    units = {**(_GOPRO_UNITS if gopro else {}), **found.units}
    channels = [channel for sensor in sensors for channel in CHANNELS[sensor]]
    numbers = table.numbers([found.places[name] for name in (TIME, *channels)])
    clock = table.header[found.places[TIME]]
    timed = np.isfinite(numbers[:, 0])
    if not timed.any():
        raise MediaError(f"{path.name} has no row of numbers: no line has a time")
    rows = np.flatnonzero(timed)
    _check_ascending(numbers[rows, 0], rows, table, clock)
    notes = [table.note]
    kept = {}
    used = np.zeros(len(numbers), bool)
    for place, sensor in enumerate(sensors):
        values = numbers[:, 1 + 3 * place : 4 + 3 * place]
        whole = timed & np.isfinite(values).all(axis=1)
        used |= whole
        rows = np.flatnonzero(whole)
        if not len(rows):
            raise MediaError(f"{path.name} has no row of numbers of the {sensor}")
        rows, repeated = _distinct(numbers[:, 0], values, rows, table, clock)
        notes.append(
            f"{repeated} samples of the {sensor} with the time of the one before left out" if repeated else None
        )
        kept[sensor] = (numbers[rows, 0], values[rows])
    unit = _time_unit(numbers[timed, 0], units.get("time_unit", ""), f"{path.name}: {clock!r}")
    recorded = {
        sensor: (times * TIME_UNITS[unit], _in_our_unit(values, sensor, units, path.name))
        for sensor, (times, values) in kept.items()
    }
    # Two sensors in one table often take turns, each leaving the other's cells empty: only lines of neither are lost.
    lost = len(numbers) - int(used.sum())
    notes.append(f"{lost} lines of {path.name} without a time or values left out" if lost else None)
    notes.append(f"the {found.left_out[0]} of {path.name} is not read" if found.left_out else None)
    return _Recording(recorded, "clock" if gopro else "", tuple(note for note in notes if note))


def _check_ascending(times: NDArray[np.float64], rows: NDArray[np.int64], table: NumberTable, clock: str) -> None:
    back = np.flatnonzero(np.diff(times) < 0)
    if len(back):
        at = int(back[0])
        raise MediaError(
            f"{table.name} line {table.line_of(rows[at + 1])}: {clock} goes back from {times[at]:.15g} to "
            f"{times[at + 1]:.15g} ({len(back)} such lines): several recordings in one file, or a counter that started "
            "anew. Write each recording into a file of its own"
        )


def _distinct(
    times: NDArray[np.float64], values: NDArray[np.float64], rows: NDArray[np.int64], table: NumberTable, clock: str
) -> tuple[NDArray[np.int64], int]:
    """The rows of a sensor with a time of their own, and how many others were left out.

    Raises:
        MediaError: so many have one time and different values that the clock is too coarse.
    """
    repeated = np.flatnonzero(np.diff(times[rows]) == 0) + 1
    differing = repeated[(values[rows[repeated]] != values[rows[repeated - 1]]).any(axis=1)]
    if len(differing) > max(1, _MOST_REPEATED * len(rows)):
        one, other = rows[differing[0] - 1], rows[differing[0]]
        raise MediaError(
            f"{table.name} lines {table.line_of(one)} and {table.line_of(other)} have one time, {clock} "
            f"{times[one]:.15g}, and different values, as {len(differing)} of {len(rows)} lines do: the clock is too "
            "coarse, or recordings are mixed. Give a time column that is finer"
        )
    return np.delete(rows, repeated), len(differing)


def _time_unit(times: NDArray[np.float64], said: str, where: str) -> str:
    """The unit of a clock. Raises MediaError if it is unclear, or the given unit is impossible."""
    steps = np.diff(times)
    steps = steps[steps > 0]
    step = float(np.median(steps)) if len(steps) else 0.0
    low, high = 1 / _RATES_HZ[1], 1 / _RATES_HZ[0]
    plausible = [unit for unit, scale in TIME_UNITS.items() if low * (1 - 1e-6) <= step * scale <= high * (1 + 1e-6)]
    rates = f"{_RATES_HZ[0]:g} to {_RATES_HZ[1]:,.0f} samples a second"
    if said:
        if not step or said in plausible:
            return said
        would = (
            f"; in {plausible[0]} it would be {1 / (step * TIME_UNITS[plausible[0]]):.4g} a second" if plausible else ""
        )
        raise MediaError(
            f"{where} has a step of {step:.6g} {said}, which no sensor has (allowed are {rates}){would}: name the "
            "column after its unit, or say imu_columns=time_unit=s, ms, us or ns"
        )
    if len(plausible) == 1:
        return plausible[0]
    if not step:
        raise MediaError(
            f"{where} does not say its unit, and has no two times to tell it: say imu_columns=time_unit=..."
        )
    if plausible:
        choices = " or ".join(f"{unit} ({1 / (step * TIME_UNITS[unit]):.4g} samples a second)" for unit in plausible)
        raise MediaError(f"{where} has a step of {step:.6g}, which may be {choices}: say imu_columns=time_unit=...")
    raise MediaError(f"{where} has a step of {step:.6g}, which in no unit is a sensor's (allowed are {rates})")


def _in_our_unit(values: NDArray[np.float64], sensor: str, units: dict[str, str], name: str) -> NDArray[np.float64]:
    """(n, 3) in m/s^2 or rad/s.

    Raises:
        MediaError: the sensor recorded nothing, or values without a unit are not in the usual one.
    """
    if len(values) > 1 and not values.any():
        raise MediaError(
            f"{name}: every value of the {sensor} is 0, so nothing was recorded; say imu_columns={sensor}=none for a "
            "data set without it"
        )
    if sensor == ACCELEROMETER:
        unit = units.get("acceleration_unit")
        middle = float(np.median(np.linalg.norm(values, axis=1)))
        if unit is None and not _GRAVITY[0] <= middle <= _GRAVITY[1]:
            raise MediaError(
                f"{name}: the acceleration is {middle:.3g} most of the time, and no unit is said; in m/s^2 gravity "
                "alone is 9.8. Say imu_columns=acceleration_unit=g, mg or m/s^2 (also where gravity was taken out)"
            )
        return values * ACCELERATION_UNITS[unit or "m/s^2"]
    unit = units.get("rotation_unit")
    beyond = float((np.abs(values) > _FASTEST).any(axis=1).mean())
    if unit is None and beyond > _FASTER_SHARE:
        raise MediaError(
            f"{name}: the gyroscope exceeds {_FASTEST:g} rad/s in {beyond:.1%} of its samples, and no unit is said. "
            "Say imu_columns=rotation_unit=deg/s, or rad/s"
        )
    return values * ROTATION_UNITS[unit or "rad/s"]


def _zero(first_s: float, said: str, name: str) -> float:
    """Where second 0 of the segments lies on the clock of a recording whose first sample is at `first_s`."""
    if said:
        return first_s if said == "first" else 0.0
    if abs(first_s) >= _SINCE_1970_S:
        return first_s
    if abs(first_s) <= _FIRST_MINUTE_S:
        return 0.0
    raise MediaError(
        f"{name} begins at {first_s:.6g} s of its clock: say imu_columns=zero=clock if that is a time in the video, or "
        "zero=first if the video begins with the first sample"
    )
