"""Two clocks, interpolated by time; what was not recorded is missing, what cannot be read has its reason."""

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from mmcache.extract.media.base.requests import ImuRequest, MediaError, NoMedia
from mmcache.extract.media.imu.imu_tables import read_imu

WriteImu = Callable[..., tuple[Path, Path]]


def accl(t: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([1.0 + 2.0 * t, -3.0 * t, 9.81 + 0.5 * t], axis=1)


def gyro(t: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([0.1 * t, 4.0 - t, -0.25 * t], axis=1)


def expected(start_s: float, stop_s: float, points: int) -> NDArray[np.float64]:
    moments = start_s + (np.arange(points) + 0.5) * (stop_s - start_s) / points
    return np.concatenate([accl(moments), gyro(moments)], axis=1)


def check(paths: tuple[Path, Path], start_s: float, stop_s: float, points: int = 16) -> None:
    """Both signals are linear in time, so interpolation must give them back exactly."""
    reading = read_imu(paths, start_s, stop_s, ImuRequest(points))
    assert reading.array.shape == (points, 6)
    assert reading.array.dtype == np.float32
    assert reading.note is None
    np.testing.assert_allclose(reading.array, expected(start_s, stop_s, points), rtol=1e-5, atol=1e-5)


def test_linear_signals_come_back_exactly_whatever_the_two_clocks(tmp_path: Path, write_imu: WriteImu) -> None:
    rng = np.random.default_rng(0)
    irregular = np.concatenate([[0.0], np.sort(rng.uniform(0, 10, 1900)), [10.0]])
    regular = np.arange(0.0, 10.01, 1 / 197)
    for i, clocks in enumerate([(regular, regular), (regular, regular + 0.013), (irregular, regular)]):
        paths = write_imu(tmp_path, f"v{i}", clocks[0], accl, gyro, clocks[1])
        for _ in range(10):
            start_s = float(rng.uniform(0.1, 8))
            check(paths, start_s, start_s + float(rng.uniform(0.1, 1.5)), int(rng.integers(1, 500)))


def test_rows_without_a_time_or_value_are_left_out_and_counted(tmp_path: Path, write_imu: WriteImu) -> None:
    paths = write_imu(tmp_path, "v", np.arange(0, 10, 0.005), accl, gyro)
    rng = np.random.default_rng(1)
    hurt = [rng.choice(2000, 40, replace=False) for _ in paths]
    for path, rows in zip(paths, hurt, strict=True):
        table = pd.read_csv(path).astype(object)
        for row in rows:
            table.iloc[row, rng.integers(4)] = rng.choice(np.array(["", "nan", "NaN", "NULL"]))
        table.to_csv(path, index=False)
    for start_s in (0.5, 3.3, 8.0):
        reading = read_imu(paths, start_s, start_s + 1.0, ImuRequest(16))
        np.testing.assert_allclose(reading.array, expected(start_s, start_s + 1.0, 16), rtol=1e-5, atol=1e-4)
        assert reading.note == (
            "40 lines of v-accl.csv without a time or values left out; "
            "40 lines of v-gyro.csv without a time or values left out"
        )


def test_unknown_columns_and_another_order_of_columns_do_not_matter(tmp_path: Path, write_imu: WriteImu) -> None:
    paths = write_imu(tmp_path, "v", np.arange(0, 10, 0.005), accl, gyro)
    for path in paths:
        table = pd.read_csv(path)
        table.insert(0, "Temperature", 21.5)
        table[table.columns[::-1]].to_csv(path, index=False)
    check(paths, 2.0, 4.0)


def test_a_file_that_changed_is_read_again(tmp_path: Path, write_imu: WriteImu) -> None:
    times = np.arange(0, 10, 0.005)
    paths = write_imu(tmp_path, "v", times, gyro, accl)
    read_imu(paths, 1.0, 2.0, ImuRequest(4))
    check(write_imu(tmp_path, "v", times, accl, gyro), 1.0, 2.0)


def test_a_series_that_ends_before_the_video_is_clamped_then_missing(tmp_path: Path, write_imu: WriteImu) -> None:
    paths = write_imu(tmp_path, "v", np.arange(0, 10.0001, 0.005), accl, gyro)
    check(paths, 9.0, 10.0)
    check(paths, 9.0, 9.99)
    reading = read_imu(paths, 8.0, 11.0, ImuRequest(20))
    assert reading.note == "segment ends 1.00 s past the IMU recording's end; clamped"
    np.testing.assert_allclose(reading.array, expected(8.0, 10.0, 20), rtol=1e-5, atol=1e-5)
    for start_s, stop_s in ((9.5, 12.0), (10.5, 11.0), (300.0, 301.0)):
        with pytest.raises(NoMedia, match=r"v-accl\.csv covers 0\.00 to 10\.00 s, not this segment"):
            read_imu(paths, start_s, stop_s, ImuRequest(20))


@pytest.mark.parametrize(("start_s", "stop_s"), [(10.01, 10.11), (10.05, 10.14), (0.86, 0.99), (0.9, 0.96)], ids=str)
def test_a_short_segment_outside_the_recording_is_missing(
    start_s: float, stop_s: float, tmp_path: Path, write_imu: WriteImu
) -> None:
    """EPIC has segments of 0.1 s: shorter than any tolerance, and yet not recorded when they lie outside."""
    paths = write_imu(tmp_path, "v", np.arange(1.0, 10.0001, 0.005), accl, gyro)
    with pytest.raises(NoMedia, match="not this segment"):
        read_imu(paths, start_s, stop_s, ImuRequest(20))


def test_what_is_filled_in_before_the_recording_starts_is_noted(tmp_path: Path, write_imu: WriteImu) -> None:
    """Older extractions start at 1 s; a segment that starts well before is mended, which `note` must say."""
    paths = write_imu(tmp_path, "v", np.arange(1.0, 10.0, 0.005), accl, gyro)
    reading = read_imu(paths, 0.2, 2.6, ImuRequest(24))
    assert reading.note is not None
    assert "start" in reading.note
    with pytest.raises(NoMedia, match="not this segment"):
        read_imu(paths, 0.0, 0.8, ImuRequest(24))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", r"v-gyro\.csv is not a readable CSV: No columns"),
        (np.random.default_rng(0).bytes(9000), r"v-gyro\.csv (is not a readable CSV|line |has |: no column)"),
        (b"not, a, CSV of a sensor\n" * 9, r"v-gyro\.csv: no column is known to be time, gx, gy, gz: say which with"),
        (
            b"Milliseconds,GyroX,GiroY,GyroZ\n1,2,3,4\n",
            r"v-gyro\.csv: no column is known to be gy: say which with imu_columns=gy=COLUMN; the table has GiroY "
            r"\(did you mean 'GiroY'\?\)",
        ),
        (b"Milliseconds,AcclX,AcclY,AcclZ\n1,2,3,4\n", r"v-gyro\.csv: no column is known to be gx, gy, gz: "),
        (b"Milliseconds,GyroX,GyroY,GyroZ\n", r"v-gyro\.csv has no row of numbers"),
        (b"Milliseconds,GyroX,GyroY,GyroZ\n1,2,,4\n2,,1,3\n", r"v-gyro\.csv has no row of numbers of the gyroscope"),
    ],
    ids=["empty", "random bytes", "another table", "a column less", "the other sensor", "no rows", "no good row"],
)
def test_a_file_of_another_form_says_why(content: bytes, reason: str, tmp_path: Path, write_imu: WriteImu) -> None:
    paths = write_imu(tmp_path, "v", np.arange(0, 10, 0.005), accl, gyro)
    paths[1].write_bytes(content)
    with pytest.raises(MediaError, match=reason):
        read_imu(paths, 1.0, 2.0, ImuRequest(8))


@pytest.mark.parametrize("lost", [0, 1])
def test_one_of_the_pair_missing(lost: int, tmp_path: Path, write_imu: WriteImu) -> None:
    paths = write_imu(tmp_path, "v", np.arange(0, 10, 0.005), accl, gyro)
    paths[lost].unlink()
    with pytest.raises(MediaError, match=rf"{paths[lost].name} is not there"):
        read_imu(paths, 1.0, 2.0, ImuRequest(8))


def test_a_file_cut_off_keeps_the_rows_before_the_cut(tmp_path: Path, write_imu: WriteImu) -> None:
    paths = write_imu(tmp_path, "v", np.arange(0, 10, 0.005), accl, gyro)
    content = paths[0].read_bytes()
    paths[0].write_bytes(content[: content.rindex(b"\n", 0, len(content) // 2) + 6])  # into the next time stamp
    reading = read_imu(paths, 1.0, 3.0, ImuRequest(16))
    np.testing.assert_allclose(reading.array, expected(1.0, 3.0, 16), rtol=1e-5, atol=1e-5)
    assert reading.note == "the last line of v-accl.csv is cut off; left out"
    with pytest.raises(NoMedia, match="not this segment"):
        read_imu(paths, 8.0, 9.0, ImuRequest(8))


@pytest.mark.parametrize("cell", ["", "21.5"])
def test_rows_with_a_cell_too_many_are_refused_with_their_line(cell: str, tmp_path: Path, write_imu: WriteImu) -> None:
    """An acceleration must never be taken for the time."""
    paths = write_imu(tmp_path, "v", np.arange(0, 10, 0.005), accl, gyro)
    lines = paths[0].read_text().splitlines()
    paths[0].write_text("\n".join([lines[0], *(f"{line},{cell}" for line in lines[1:])]))
    with pytest.raises(MediaError, match=r"v-accl\.csv line 2 has 5 cells, the header has 4 \(2000 such lines\)"):
        read_imu(paths, 1.0, 3.0, ImuRequest(8))


def test_reading_on_threads_leaves_the_warnings_of_others_alone(tmp_path: Path, write_imu: WriteImu) -> None:
    """Filters of warnings belong to the process; one set on a decoding thread may outlive it there."""
    filters = list(warnings.filters)
    paths = [write_imu(tmp_path, f"v{i}", np.arange(0, 10, 0.005), accl, gyro) for i in range(8)]
    for pair in paths:
        lines = pair[0].read_text().splitlines()
        pair[0].write_text("\n".join([f"{lines[0]},word", *(f"{line},x" for line in lines[1:])]))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda pair: read_imu(pair, 1.0, 3.0, ImuRequest(8)), paths))
    assert warnings.filters == filters
