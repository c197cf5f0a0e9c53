import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import settings

from mmcache.store import FeatureStore, StoreError
from mmcache.store.files.sealed import spare_of
from mmcache.store.format.layout import StoreMeta
from mmcache.store.manage.verify import verify
from mmcache.store.write.create import check_same_segments, create_store

PROPERTY = settings(max_examples=15)
N = 5
ONES = np.ones((1, 2, 3), np.float16)
MakeSegments = Callable[[int], pd.DataFrame]
MakeMeta = Callable[[pd.DataFrame], StoreMeta]
Tree = Callable[[Path], dict[str, bytes]]


def test_a_store_is_not_made_over_another(empty_store: Path, make_segments: MakeSegments, make_meta: MakeMeta) -> None:
    with pytest.raises(StoreError, match="exists already"):
        create_store(empty_store, make_segments(3), make_meta(make_segments(3)))
    assert len(FeatureStore.open(empty_store)) == N


def test_unsound_segments_leave_no_store(tmp_path: Path, make_segments: MakeSegments, make_meta: MakeMeta) -> None:
    segments = make_segments(4).assign(id="same")
    with pytest.raises(StoreError, match="must be unique"):
        create_store(tmp_path / "toy.zarr", segments, make_meta(segments))
    assert list(tmp_path.iterdir()) == []


def test_the_same_segments_are_accepted(empty_store: Path, make_segments: MakeSegments, make_meta: MakeMeta) -> None:
    segments = make_segments(N)
    check_same_segments(empty_store, segments, make_meta(segments))
    columns = ["narration", "noun", "verb", "split", "stop_s", "start_s", "video", "id"]
    check_same_segments(empty_store, segments[columns].set_index(np.arange(N) + 7), make_meta(segments))


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("some segments differ", {"id": [f"P02_{row}" for row in range(N)]}),
        ("some segments differ", {"start_s": np.arange(N) * 2.0 - 0.001}),
        ("some segments differ", {"verb": [0, 1, 2, 0, 2]}),
        ("some segments differ", {"narration": "wash pan"}),
        ("splits differs", {"split": "train"}),
    ],
)
def test_other_segments_are_refused(
    empty_store: Path, make_segments: MakeSegments, make_meta: MakeMeta, what: str, change: dict[str, Any]
) -> None:
    segments = make_segments(N).assign(**change)
    with pytest.raises(StoreError, match=rf"was made from other annotations \({what}.*--store PATH"):
        check_same_segments(empty_store, segments, make_meta(segments))


def test_the_same_segments_in_another_order_are_refused(
    empty_store: Path, make_segments: MakeSegments, make_meta: MakeMeta
) -> None:
    segments = make_segments(N)
    with pytest.raises(StoreError, match="some segments differ"):
        check_same_segments(empty_store, segments.iloc[[1, 0, 2, 3, 4]], make_meta(segments))


@pytest.mark.parametrize(
    ("field", "value"), [("dataset", "other"), ("tasks", {"verb": ["take", "cut", "dry"], "noun": list("abcd")})]
)
def test_another_data_set_is_refused(
    empty_store: Path, make_segments: MakeSegments, make_meta: MakeMeta, field: str, value: object
) -> None:
    segments = make_segments(N)
    meta = dataclasses.replace(make_meta(segments), **{field: value})
    with pytest.raises(StoreError, match=f"was made from other annotations \\({field} differs"):
        check_same_segments(empty_store, segments, meta)


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param(pd.Series(["a", "b", "c", "d", "e"], dtype=object), id="objects"),
        pytest.param(pd.Series(["a", None, "c", "d", "e"]), id="text with gaps"),
        pytest.param(pd.Series(["a", None, "c", "d", "e"], dtype=object), id="objects with gaps"),
        pytest.param(pd.Series([1.5, np.nan, 2, 3, 4]), id="numbers with gaps"),
        pytest.param(pd.Series([1, None, 2, 3, 4], dtype="Int64"), id="integers with gaps"),
        pytest.param(pd.Series([True, False, True, True, True]), id="yes and no"),
        pytest.param(pd.Series(list("abcab"), dtype="category"), id="categories"),
    ],
)
def test_segments_with_any_extra_column_are_the_same_when_they_come_again(
    tmp_path: Path, make_segments: MakeSegments, make_meta: MakeMeta, extra: pd.Series
) -> None:
    """A data set's own columns go through the file and back; the next run of the same command compares them."""
    segments = make_segments(N).assign(extra=extra)
    create_store(tmp_path / "toy.zarr", segments, make_meta(segments))
    check_same_segments(tmp_path / "toy.zarr", segments, make_meta(segments))


def test_a_new_store_is_sound_and_holds_the_segments_and_nothing_else(
    empty_store: Path, make_segments: MakeSegments, make_meta: MakeMeta
) -> None:
    assert verify(empty_store) == []
    store = FeatureStore.open(empty_store)
    assert (store.modalities, store.failures, store.notes) == ([], [], [])
    assert store.segments.astype(str).equals(make_segments(N).astype(str))
    digest = hashlib.sha256((empty_store / "segments.parquet").read_bytes()).hexdigest()
    assert store.meta == dataclasses.replace(make_meta(make_segments(N)), sha256={"segments.parquet": digest})
    assert [path.name for path in empty_store.parent.iterdir()] == ["toy.zarr"]


def test_two_stores_of_the_same_segments_are_the_same_bytes_and_each_file_has_its_spare(
    empty_store: Path, tmp_path: Path, make_segments: MakeSegments, make_meta: MakeMeta, tree: Tree
) -> None:
    create_store(tmp_path / "deep" / "er" / "again.zarr", make_segments(N), make_meta(make_segments(N)))
    files = tree(empty_store)
    assert tree(tmp_path / "deep" / "er" / "again.zarr") == files
    names = [name for name in files if not name.startswith(".spare/")]
    assert set(names) == {"zarr.json", "segments.parquet", "tokens/zarr.json", "present/zarr.json"}
    assert all(spare_of(empty_store, name).read_bytes() == files[name] for name in names)


def test_what_a_killed_creation_left_is_removed_by_the_next_one(
    tmp_path: Path, make_segments: MakeSegments, make_meta: MakeMeta
) -> None:
    (tmp_path / ".tmp-123-toy.zarr" / "tokens").mkdir(parents=True)
    (tmp_path / ".tmp-123-other.zarr").mkdir()
    create_store(tmp_path / "toy.zarr", make_segments(N), make_meta(make_segments(N)))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".tmp-123-other.zarr", "toy.zarr"]


def test_damaged_segments_are_no_other_segments(
    empty_store: Path, make_segments: MakeSegments, make_meta: MakeMeta
) -> None:
    """Whoever writes to a damaged store is told to repair it, not to take another."""
    (empty_store / "segments.parquet").write_bytes(b"")
    with pytest.raises(StoreError, match=r"segments\.parquet is damaged; `mmcache store verify --repair`"):
        check_same_segments(empty_store, make_segments(N), make_meta(make_segments(N)))
