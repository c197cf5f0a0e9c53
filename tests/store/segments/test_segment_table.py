import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmcache.store import StoreError
from mmcache.store.segments.segment_table import check_segments, read_segments, segments_to_bytes

TASKS = {"verb": ["take", "cut", "wash"], "noun": ["cup", "pan", "box", "knife"]}
MakeSegments = Callable[[int], pd.DataFrame]


def test_columns_come_in_one_order_with_one_type(make_segments: MakeSegments) -> None:
    segments = make_segments(4)
    shuffled = segments[["narration", "noun", "split", "id", "verb", "stop_s", "video", "start_s"]]
    untidy = shuffled.assign(start_s=[0, 2, 4, 6], verb=np.array([0, 1, 2, 0], np.int8)).set_index(np.arange(4) + 9)
    table = check_segments(untidy, TASKS)
    assert list(table.columns) == ["id", "video", "start_s", "stop_s", "split", "verb", "noun", "narration"]
    assert list(table.index) == [0, 1, 2, 3]
    assert {table[column].dtype for column in ("start_s", "stop_s")} == {np.dtype(np.float64)}
    assert {table[task].dtype for task in TASKS} == {np.dtype(np.int32)}
    pd.testing.assert_frame_equal(table, check_segments(segments, TASKS))
    pd.testing.assert_frame_equal(check_segments(table, TASKS), table)


def test_segments_come_back_from_the_file_as_they_were(tmp_path: Path, make_segments: MakeSegments) -> None:
    table = check_segments(
        make_segments(9).assign(score=np.linspace(0, 1, 9), ok=True, note=["ü", None, ""] * 3), TASKS
    )
    (tmp_path / "segments.parquet").write_bytes(segments_to_bytes(table))
    back = read_segments(tmp_path / "segments.parquet")
    assert back.equals(table)
    (tmp_path / "again.parquet").write_bytes(segments_to_bytes(back))
    assert (tmp_path / "again.parquet").read_bytes() == (tmp_path / "segments.parquet").read_bytes()


@pytest.mark.parametrize("column", ["id", "video", "start_s", "stop_s", "split", "verb", "noun"])
def test_a_lacking_column_is_named(make_segments: MakeSegments, column: str) -> None:
    with pytest.raises(StoreError, match=f"segments lack the columns {column}$"):
        check_segments(make_segments(3).drop(columns=column), TASKS)


def test_ids_must_be_unique(make_segments: MakeSegments) -> None:
    with pytest.raises(StoreError, match="'P01_001' and 1 more repeat"):
        check_segments(make_segments(4).assign(id=["P01_000", "P01_001", "P01_001", "P01_001"]), TASKS)


@pytest.mark.parametrize(("start", "stop"), [(5.0, 5.0), (5.0, 4.0), (np.nan, 4.0), (5.0, np.nan)])
def test_a_span_must_be_positive(make_segments: MakeSegments, start: float, stop: float) -> None:
    segments = make_segments(3)
    segments.loc[1, ["start_s", "stop_s"]] = start, stop
    with pytest.raises(StoreError, match=r"segment 'P01_001' does not stop after it starts \(1 such\)"):
        check_segments(segments, TASKS)


@pytest.mark.parametrize("label", [-2, 4, 1000])
def test_labels_must_be_of_the_task(make_segments: MakeSegments, label: int) -> None:
    segments = make_segments(3).assign(noun=[0, -1, label])
    with pytest.raises(StoreError, match=r"segment 'P01_002' has a noun label outside -1\.\.3 \(1 such\)"):
        check_segments(segments, TASKS)


@pytest.mark.parametrize("label", [0.5, np.nan])
def test_labels_must_be_whole_numbers(make_segments: MakeSegments, label: float) -> None:
    with pytest.raises(StoreError, match="segment 'P01_002' has a noun label"):
        check_segments(make_segments(3).assign(noun=[0.0, 1.0, label]), TASKS)


@pytest.mark.parametrize("task", ["Verb", "verb-1", "1verb", "", "split", "x" * 51])
def test_a_task_must_have_a_plain_name(make_segments: MakeSegments, task: str) -> None:
    with pytest.raises(StoreError, match=f"'{task}' cannot name a task"):
        check_segments(make_segments(3).assign(**{task: 0}), {task: ["a"]})


def test_a_lacking_file_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"segments\.parquet is damaged"):
        read_segments(tmp_path / "segments.parquet")


def test_a_damaged_file_is_a_store_error_if_it_is_noticed(tmp_path: Path, make_segments: MakeSegments) -> None:
    """Parquet has no checksums, so some flips go unseen without the digest; none may end in another kind of error."""
    path = tmp_path / "segments.parquet"
    path.write_bytes(segments_to_bytes(check_segments(make_segments(8), TASKS)))
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    errors, other = 0, {}
    for place, bit in zip(rng.integers(len(whole), size=400).tolist(), rng.integers(8, size=400).tolist(), strict=True):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << bit
        path.write_bytes(damaged)
        try:
            read_segments(path)
        except StoreError:
            errors += 1
        except Exception as error:
            other[place, bit] = repr(error)
        with pytest.raises(StoreError, match="fails its checksum"):
            read_segments(path, hashlib.sha256(whole).hexdigest())
    assert other == {}
    assert errors > 50
    path.write_bytes(whole)
    assert len(read_segments(path, hashlib.sha256(whole).hexdigest())) == 8


@pytest.mark.parametrize("kept", [0, 3, 100, 1000, -1])
def test_a_truncated_file_is_a_store_error(tmp_path: Path, make_segments: MakeSegments, kept: int) -> None:
    path = tmp_path / "segments.parquet"
    path.write_bytes(segments_to_bytes(check_segments(make_segments(8), TASKS)))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(StoreError, match=r"segments\.parquet is damaged"):
        read_segments(path)
