"""IMU tables as people have them: the same motion comes out of every form, or the message says what to give."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mmcache.extract.datasets.manifest.manifest import Manifest
from mmcache.extract.datasets.manifest.manifest_media import MediaSettings, find_media
from mmcache.extract.media import ImuRequest, MediaError, read_media
from mmcache.extract.media.base.requests import Reading
from mmcache.extract.media.imu.imu_columns import parse_columns, with_variant
from mmcache.extract.media.imu.imu_tables import read_imu
from mmcache.store.ground.errors import ConfigError

PROPERTY = settings(max_examples=40)
STYLES = (
    ("ax", "ay", "az", "gx", "gy", "gz"),
    ("acc_x", "acc_y", "acc_z", "gyr_x", "gyr_y", "gyr_z"),
    ("accel_x", "accel_y", "accel_z", "gyro_x", "gyro_y", "gyro_z"),
    ("AccX", "AccY", "AccZ", "wx", "wy", "wz"),
    ("accelerometer_x", "accelerometer_y", "accelerometer_z", "gyroscope_x", "gyroscope_y", "gyroscope_z"),
    tuple(f"{sensor}.{axis}" for sensor in ("linear_acceleration", "angular_velocity") for axis in "xyz"),
    tuple(f"field.{sensor}.{axis}" for sensor in ("linear_acceleration", "angular_velocity") for axis in "xyz"),
    tuple(f"{sensor} {axis}" for sensor in ("Acceleration", "Gyroscope") for axis in "xyz"),
    tuple(f"{axis}_{sensor}" for sensor in ("acc", "gyro") for axis in "xyz"),
    tuple(f"{sensor}{axis}" for sensor in ("Accl", "Gyro") for axis in "XYZ"),
)
UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
CLOCKS = {
    "s": ("time_s", "Time (s)", "seconds", "sec", "seconds_elapsed"),
    "ms": ("timestamp_ms", "Milliseconds", "time [ms]", "t_ms"),
    "us": ("time_us", "timestamp_us", "microseconds"),
    "ns": ("timestamp_ns", "#timestamp [ns]", "time_nanoseconds"),
    "": ("timestamp", "time", "t", "ts", "Epoch (unix)", "%time", "unix_timestamp"),
}
G, DEGREE = 9.80665, np.pi / 180


def motion(t: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 6) in m/s^2 and rad/s, linear in time, so that interpolation gives it back exactly."""
    return np.stack([1 + t, -t / 2, 9.81 + 0 * t, 0.5 * t, 1 - t / 4, -0.25 * t - 0.1], axis=1)


def table(path: Path, header: Sequence[str], columns: NDArray[Any], separator: str = ",") -> Path:
    rows = [separator.join(f"{value:.17g}" for value in row) for row in columns]
    path.write_text("\n".join([separator.join(header), *rows]) + "\n")
    return path


def recording(path: Path, rate: float = 50, seconds: float = 4, header: str = "", **changes: Any) -> Path:
    """A plain table; `changes` are made to its numbers: column -> (n,) values."""
    t = np.arange(0, seconds, 1 / rate)
    names = (header or "timestamp_ms,ax,ay,az,gx,gy,gz").split(",")
    columns = np.column_stack([t * 1e3, motion(t)])
    for name, values in changes.items():
        columns[:, names.index(name)] = values
    return table(path, names, columns)


def read(path: Path, columns: str = "", start_s: float = 1.0, stop_s: float = 2.0) -> Reading:
    return read_imu((path,), start_s, stop_s, ImuRequest(10), columns)


MOMENTS = 1.0 + (np.arange(10) + 0.5) / 10


@PROPERTY
@given(data=st.data())
def test_every_usual_form_of_a_table_gives_the_same_motion(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    style = data.draw(st.sampled_from(STYLES))
    unit = data.draw(st.sampled_from(sorted(UNITS)))
    said = data.draw(st.booleans())
    rate = data.draw(st.sampled_from([20, 50, 100, 400, 1000] if said else [20, 50, 100, 400]))
    clock = data.draw(st.sampled_from(CLOCKS[unit if said else ""]))
    epoch_s = data.draw(st.sampled_from([0.0, 1.7e9]))
    in_g, in_degrees = data.draw(st.booleans()), data.draw(st.booleans())
    separator = data.draw(st.sampled_from([",", ";", "\t"]))
    t = np.arange(0, 3, 1 / rate)
    values = motion(t) / ([G if in_g else 1] * 3 + [DEGREE if in_degrees else 1] * 3)
    names = [name + (" (g)" if in_g else "") for name in style[:3]]
    names += [name + ("[deg/s]" if in_degrees else "") for name in style[3:]]
    order = data.draw(st.permutations(range(8)))
    header = np.array([clock, *names, "temperature"], object)[order]
    columns = np.column_stack([np.round((t + epoch_s) * UNITS[unit], 9), values, 0 * t + 21])[:, order]
    path = table(tmp_path_factory.mktemp("t") / "imu.csv", header.tolist(), columns, separator)
    reading = read(path)
    np.testing.assert_allclose(reading.array, motion(MOMENTS), rtol=1e-4, atol=1e-3)
    assert reading.note is None


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        ("ts,a1,a2,a3,w1,w2,w3", "time=ts,ax=a1,ay=a2,az=a3,gx=w1,gy=w2,gz=w3,time_unit=ms"),
        ("clock,ax,ay,az,gx,gy,gz", "time=clock, time_unit=ms"),
        ("timestamp_ms,wrist x,wrist y,wrist z,gx,gy,gz", "ax=wrist x,ay=wrist y,az=wrist z"),
    ],
)
def test_columns_of_other_names_are_given_by_hand(header: str, columns: str, tmp_path: Path) -> None:
    recording(tmp_path / "a.csv", header=header)
    np.testing.assert_allclose(read(tmp_path / "a.csv", columns).array, motion(MOMENTS), rtol=1e-4)
    (tmp_path / "manifest.csv").write_text("id,imu,label\na,a.csv,0\n")
    source = Manifest(tmp_path, imu_columns=columns).source("imu", "a")
    assert source is not None
    np.testing.assert_allclose(read_media(source, 1.0, 2.0, ImuRequest(10)).array, motion(MOMENTS), rtol=1e-4)
    with pytest.raises(MediaError, match=r"a\.csv: (no column is known to be|it has no) .*imu_columns="):
        read(tmp_path / "a.csv")


def test_a_magnetometer_is_left_out_and_said_so(tmp_path: Path) -> None:
    t = np.arange(0, 4, 0.02)
    header = ["t", "ax", "ay", "az", "gx", "gy", "gz", "mx", "my", "mz"]
    path = table(tmp_path / "nine.csv", header, np.column_stack([t, motion(t), 40 + motion(t)[:, :3]]))
    reading = read(path)
    np.testing.assert_allclose(reading.array, motion(MOMENTS), rtol=1e-4)
    assert reading.note == "the magnetometer of nine.csv is not read"


@pytest.mark.parametrize(("sensor", "kept"), [("gyroscope", slice(0, 3)), ("accelerometer", slice(3, 6))])
def test_one_sensor_alone_has_to_be_said_and_is_part_of_the_fingerprint(
    sensor: str, kept: slice, tmp_path: Path
) -> None:
    t = np.arange(0, 4, 0.02)
    header = ["t", *["ax", "ay", "az", "gx", "gy", "gz"][kept]]
    path = table(tmp_path / "three.csv", header, np.column_stack([t, motion(t)[:, kept]]))
    with pytest.raises(MediaError, match=rf"three\.csv: it has no {sensor}, and the encoder takes both.*{sensor}=none"):
        read(path)
    source = find_media("imu", (path,), None, MediaSettings(imu_columns=f"{sensor}=none"))
    assert source is not None
    assert source.variant == ("accelerometer_alone" if sensor == "gyroscope" else "gyroscope_alone")
    found = read_media(source, 1.0, 2.0, ImuRequest(10)).array
    np.testing.assert_allclose(found[:, kept], motion(MOMENTS)[:, kept], rtol=1e-4)
    assert np.count_nonzero(found.any(axis=0)) <= 3
    # A clip is read as the data set was, with no option said again, even if it has both sensors.
    both = recording(tmp_path / "six.csv")
    again = read(both, with_variant("", source.variant)).array
    np.testing.assert_allclose(again[:, kept], found[:, kept], rtol=1e-4)
    assert np.count_nonzero(again.any(axis=0)) <= 3


def test_two_files_may_call_their_axes_x_y_and_z(tmp_path: Path) -> None:
    t = np.arange(0, 4, 0.02)
    paths = tuple(
        table(tmp_path / f"{name}.csv", ["seconds_elapsed", "z", "y", "x"], np.column_stack([t, motion(t)[:, axes]]))
        for name, axes in (("Accelerometer", [2, 1, 0]), ("Gyroscope", [5, 4, 3]))
    )
    found = read_imu(paths, 1.0, 2.0, ImuRequest(10)).array
    np.testing.assert_allclose(found, motion(MOMENTS), rtol=1e-4)


def test_sensors_that_take_turns_in_one_table_are_read(tmp_path: Path) -> None:
    t = np.arange(0, 4, 0.01)
    cells = [[f"{s:.3f}", *(f"{v:.9f}" for v in row)] for s, row in zip(t, motion(t), strict=True)]
    for at, row in enumerate(cells):
        row[slice(4, 7) if at % 2 else slice(1, 4)] = ["", "NaN", ""]
    (tmp_path / "a.csv").write_text("\n".join(["t,ax,ay,az,gx,gy,gz", *map(",".join, cells)]))
    reading = read(tmp_path / "a.csv")
    np.testing.assert_allclose(reading.array, motion(MOMENTS), rtol=1e-4)
    assert reading.note is None


STEPS = np.arange(200)


@pytest.mark.parametrize(
    ("header", "changes", "reason"),
    [
        (
            "timestamp_ms,",
            {"timestamp_ms": np.r_[0:2000:20, 0:2000:20]},
            "line 102: timestamp_ms goes back from 1980 to 0 (1 ",
        ),
        ("timestamp_ms,", {"timestamp_ms": STEPS % 7}, "line 9: timestamp_ms goes back from 6 to 0 (28 such lines)"),
        ("t,", {"t": STEPS // 50}, "lines 2 and 3 have one time, t 0, and different values, as 196 of 200 lines do"),
        ("timestamp_ms,", {"timestamp_ms": 0.005 * STEPS}, "has a step of 0.005 ms, which no sensor has"),
        (
            "Milliseconds,",
            {"Milliseconds": 0.005 * STEPS},
            "a step of 0.005 ms, which no sensor has (allowed are 1 to 8,000",
        ),
        (
            "timestamp,",
            {"timestamp": 0.25 * STEPS},
            "has a step of 0.25, which may be s (4 samples a second) or ms (4000",
        ),
        ("timestamp,", {"timestamp": 1e10 * STEPS}, "has a step of 1e+10, which in no unit is a sensor's"),
        (
            "t,",
            {"t": 500 + 0.02 * STEPS},
            "begins at 500 s of its clock: say imu_columns=zero=clock if that is a time in",
        ),
        (
            "t,",
            {"t": 0.02 * STEPS, "ax": 0, "ay": 0, "az": 1},
            "the acceleration is 1 most of the time, and no unit is said",
        ),
        (
            "t,",
            {"t": 0.02 * STEPS, "gx": 90},
            "the gyroscope exceeds 35 rad/s in 100.0% of its samples, and no unit is said",
        ),
        (
            "t,",
            {"t": 0.02 * STEPS, "ax": 0, "ay": 0, "az": 0},
            "every value of the accelerometer is 0, so nothing was rec",
        ),
        (
            "t,",
            {"t": 0.02 * STEPS, "gx": 0, "gy": 0, "gz": 0},
            "every value of the gyroscope is 0, so nothing was recor",
        ),
        (
            "time,timestamp,",
            {"time": STEPS},
            "'time' and 'timestamp' could each be time: say which with imu_columns=time=",
        ),
    ],
    ids=range(13),
)
def test_what_could_be_read_wrongly_is_asked_for(
    header: str, changes: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    names = f"{header}ax,ay,az,gx,gy,gz".split(",")
    columns = {name: np.asarray(changes.get(name, 9 + STEPS / 100)) * np.ones(200) for name in names}
    path = table(tmp_path / "a.csv", names, np.column_stack(list(columns.values())))
    with pytest.raises(MediaError, match=re.escape(reason)):
        read(path)


@pytest.mark.parametrize(
    ("columns", "changes", "scale"),
    [
        ("acceleration_unit=g", {}, [G] * 3 + [1] * 3),
        ("acceleration_unit=mg,rotation_unit=deg/s", {}, [G / 1000] * 3 + [DEGREE] * 3),
        ("zero=first", {"timestamp_ms": 90_000 + 20 * STEPS}, [1] * 6),
        ("zero=clock", {"timestamp_ms": 20 * STEPS}, [1] * 6),
        ("time_unit=s,zero=clock", {"timestamp_ms": 0.02 * STEPS}, [1] * 6),
    ],
)
def test_what_is_said_is_done(columns: str, changes: dict[str, Any], scale: list[float], tmp_path: Path) -> None:
    path = recording(tmp_path / "a.csv", **changes)
    np.testing.assert_allclose(read(path, columns).array, motion(MOMENTS) * scale, rtol=1e-4)


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda lines: [*lines[:5], lines[5] + ",7", *lines[6:]], "a.csv line 6 has 8 cells, the header has 7"),
        (lambda lines: [*lines[:5], "1,2,3", *lines[6:]], "a.csv line 6 has 3 cells, the header has 7"),
        (lambda lines: [*lines[:5], lines[5] + ",7", "1,2,3,4,5,6", *lines[7:]], "a.csv line 6 has 8 cells"),
        (lambda lines: [lines[0], *(f"{n},{line}" for n, line in enumerate(lines[1:]))], "a.csv line 2 has 8 cells"),
        (lambda lines: lines[1:], "a.csv has no header: its first line holds numbers"),
        (
            lambda lines: ["# Device: one", "# Rate: 50", *lines],
            "a.csv line 3 has 7 cells, the header has 1 (201 such lines): a cell too many or too few moves the others "
            "to the wrong columns. The header is the first line, 'Device: one'; where the names of the columns are "
            "further down, take out the lines above them",
        ),
        (lambda lines: [line.replace(",", ";").replace(".", ",") for line in lines], "with a point, such as 9.81"),
        (lambda lines: [lines[0], "12:00:01,1,1,1,1,1,1", *lines[1:]], "convert dates and times of day"),
        (
            lambda lines: [lines[0], "ms,g,g,g,r,r,r", *lines[1:]],
            "a.csv line 2: 'ms' under 'timestamp_ms' is no number. ",
        ),
        (lambda lines: [*lines[:7], lines[7].replace(",", ",x", 1), *lines[8:]], "a.csv line 8: 'x"),
        (lambda lines: [*lines[:7], "", lines[7].replace(",", ",inf", 1), *lines[8:]], "a.csv line 9: 'inf"),
        (
            lambda lines: [*lines[:7], "True,1,1,1,1,1,1", *lines[8:]],
            "a.csv line 8: 'True' under 'timestamp_ms' is no num",
        ),
        (lambda lines: [f"{line.replace(',', chr(34) + ',' + chr(34), 1)}" for line in lines], "a.csv"),
        (
            lambda lines: [line.replace(",", ";").replace(".", ",") for line in lines],
            "numbers are written with a point",
        ),
        (lambda lines: [lines[0].replace("ay", "ax"), *lines[1:]], "a.csv has two columns named 'ax'; rename one"),
    ],
    ids=range(15),
)
def test_a_line_of_another_form_is_named(edit: Any, reason: str, tmp_path: Path) -> None:
    path = recording(tmp_path / "a.csv")
    path.write_text("\n".join(edit(path.read_text().splitlines())) + "\n")
    with pytest.raises(MediaError, match=re.escape(reason)):
        read(path)


def test_cells_in_quotes_are_read_as_others(tmp_path: Path) -> None:
    path = recording(tmp_path / "a.csv")
    path.write_text("\r\n".join('"' + line.replace(",", '","') + '"' for line in path.read_text().splitlines()))
    np.testing.assert_allclose(read(path).array, motion(MOMENTS), rtol=1e-4)


def test_single_repeated_times_are_left_out_and_counted(tmp_path: Path) -> None:
    times = 20.0 * STEPS
    times[[60, 70]] = times[[59, 69]]
    reading = read(recording(tmp_path / "a.csv", timestamp_ms=times))
    np.testing.assert_allclose(reading.array, motion(MOMENTS), atol=0.02)
    assert reading.note == "; ".join(
        f"2 samples of the {sensor} with the time of the one before left out"
        for sensor in ("accelerometer", "gyroscope")
    )


def test_mistakes_in_the_setting_are_all_named(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"(?s)4 things.*unknown name in imu_columns 'tim'\. Did you mean 'time'\?.*NAME="
    ):
        parse_columns("tim=a,ax,gyroscope=no,time_unit=min")
    with pytest.raises(ConfigError, match="neither an accelerometer nor a gyroscope"):
        MediaSettings(imu_columns="accelerometer=none,gyroscope=none")
    with pytest.raises(MediaError, match=r"imu_columns names the column 'acx' for ax; .*did you mean 'ax'"):
        read(recording(tmp_path / "a.csv"), "ax=acx")
