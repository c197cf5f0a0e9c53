"""One CSV for both sensors, on the clock of the canonical video; what was not recorded is missing."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mmcache.extract.media import ImuRequest, MediaError, NoMedia, read_media
from mmcache.extract.media.base.source import Source

HEADER = (
    "component_idx,component_timestamp_ms,canonical_timestamp_ms,gyro_x,gyro_y,gyro_z,accl_x,accl_y,accl_z"  # as it is
)
Row = Callable[[int, float], str]


def accl(t: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([1.0 + 2.0 * t, -3.0 * t, 9.81 + 0.5 * t], axis=1)


def gyro(t: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([0.1 * t, 4.0 - t, -0.25 * t], axis=1)


def row(component: int, t: float) -> str:
    a, g = accl(np.array([t]))[0], gyro(np.array([t]))[0]
    numbers = ",".join(f"{value:.9f}" for value in (*g, *a))
    return f"{component},{t * 1000:.3f},{t * 1000:.6f},{numbers}"


def rows(low: float, high: float, component: int = 0) -> list[str]:
    return [row(component, t) for t in np.arange(low, high, 0.004975)]


def write(folder: Path, lines: list[str], header: str = HEADER) -> Source:
    path = folder / "5b1a0c2e-0000-4000-8000-000000000001.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return Source("ego4d_imu", (path,))


def check(source: Source, start_s: float, stop_s: float, points: int = 16) -> None:
    """Both signals are linear in time, so interpolation must give them back exactly, accelerometer first."""
    reading = read_media(source, start_s, stop_s, ImuRequest(points=points))
    moments = start_s + (np.arange(points) + 0.5) * (stop_s - start_s) / points
    expected = np.concatenate([accl(moments), gyro(moments)], axis=1)
    assert reading.array.dtype == np.float32
    assert reading.note is None
    np.testing.assert_allclose(reading.array, expected, rtol=1e-5, atol=1e-4)


def test_the_columns_come_in_our_order_on_the_canonical_clock(tmp_path: Path) -> None:
    """Component time starts anew in every component: it is not the clock."""
    lines = rows(0, 5) + [line.replace(line.split(",")[1], "0.0", 1) for line in rows(5, 10, component=1)]
    source = write(tmp_path, lines)
    for start_s in (0.1, 4.7, 8.3):
        check(source, start_s, start_s + 1.0)


def test_rows_without_a_usable_time_or_value_are_left_out(tmp_path: Path) -> None:
    cells = [line.split(",") for line in rows(0, 60)]  # long enough for a parser that reads in pieces
    rng = np.random.default_rng(0)
    for time in ("", "NULL", "nan", "inf", "1e15", "-7e12", "9223372036854775807"):
        for i in rng.choice(len(cells), 15, replace=False):
            cells[i][2] = time
    for value in ("", "NULL", "1e30", "-4e9", "inf"):
        for i in rng.choice(len(cells), 15, replace=False):
            cells[i][int(rng.integers(3, 9))] = value
    order = rng.permutation(len(cells))
    source = write(tmp_path, [",".join(cells[i]) for i in order])
    for start_s in (0.5, 33.3, 58.0):
        check(source, start_s, start_s + 1.0)
    # An absurd time is no end of the recording either.
    whole = read_media(source, 0.1, float("inf"), ImuRequest(points=8)).array
    np.testing.assert_allclose(whole[:, 0], 1.0 + 2.0 * (0.1 + (np.arange(8) + 0.5) * 59.89 / 8), rtol=1e-2)


@pytest.mark.parametrize(("lost", "sensor"), [(slice(6, 9), "accelerometer"), (slice(3, 6), "gyroscope")])
def test_a_device_without_one_of_the_sensors_is_a_missing_modality(lost: slice, sensor: str, tmp_path: Path) -> None:
    cells = [line.split(",") for line in rows(0, 3)]
    for line in cells:
        line[lost] = ["", "", ""]
    with pytest.raises(NoMedia, match=f"0001.csv has no measurement of the {sensor}"):
        read_media(write(tmp_path, [",".join(line) for line in cells]), 1.0, 2.0, ImuRequest(points=4))


def test_a_component_without_imu_is_a_gap_and_segments_in_it_are_not_recorded(tmp_path: Path) -> None:
    source = write(tmp_path, rows(0, 10) + rows(20, 30, component=2))
    check(source, 9.0, 9.98)
    check(source, 20.1, 21.0)
    for start_s, stop_s in ((10.2, 19.8), (12.0, 13.0), (9.9, 10.3), (19.0, 20.5)):
        with pytest.raises(NoMedia, match=r"covers 0\.00 to 30\.00 s, with gaps, not this segment"):
            read_media(source, start_s, stop_s, ImuRequest(points=8))
    partly = read_media(source, 7.0, 11.0, ImuRequest(points=8))
    assert partly.note is not None
    assert "1.0" in partly.note
    assert "lie in gaps of the IMU recording; bridged" in partly.note


def test_one_sensor_may_pause_while_the_other_goes_on(tmp_path: Path) -> None:
    cells = [line.split(",") for line in rows(0, 10)]
    for line in cells:
        if 4000 < float(line[2]) < 6000:
            line[6:9] = ["", "", ""]
    source = write(tmp_path, [",".join(line) for line in cells])
    check(source, 2.0, 3.9)
    with pytest.raises(NoMedia, match="with gaps, not this segment"):
        read_media(source, 4.5, 5.5, ImuRequest(points=8))


@pytest.mark.parametrize(
    ("lines", "header", "reason"),
    [
        ([], HEADER, "has no row of numbers"),
        (["0,1,2,a,b,c,d,e,f"] * 3, HEADER, r"line 2: 'd' under 'accl_x' is no number\. Numbers begin on the second"),
        (["0,1,2,,,,,,"] * 3, HEADER, "has no row of numbers"),
        (["0,1,2,3,4,5,6,7,8", "0,1,2,3,4"], HEADER, "line 3 has 5 cells, the header has 9"),
        (["0,1,NULL,1,2,3,4,5,6"] * 3, HEADER, "has no usable canonical_timestamp_ms: it does not say when"),
        (["1,2,3,4"], "Milliseconds,AcclX,AcclY,AcclZ", "lacks the columns canonical_timestamp_ms, accl_x"),
        (["0,1,2,3,4,5,6,7"], HEADER.replace(",gyro_y", ""), "lacks the columns gyro_y$"),
    ],
)
def test_a_file_of_another_form_says_why(lines: list[str], header: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=f"0001.csv {reason}"):
        read_media(write(tmp_path, lines, header), 0.0, 1.0, ImuRequest(points=4))


def test_no_file_and_a_file_that_changed(tmp_path: Path) -> None:
    source = write(tmp_path, rows(0, 5))
    check(source, 1.0, 2.0)
    write(tmp_path, rows(0, 8))
    check(source, 6.0, 7.0)
    source.paths[0].unlink()
    with pytest.raises(MediaError, match=r"0001\.csv is not there"):
        read_media(source, 1.0, 2.0, ImuRequest(points=4))
