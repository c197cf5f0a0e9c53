"""What stands in the way of a merge is told at once, and nothing is changed."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import zarr
from zarr.codecs import ZstdCodec

from mmcache.store import ConfigError, StoreError
from mmcache.store.format.fingerprint import Fingerprint
from mmcache.store.format.layout import read_attributes
from mmcache.store.ground.errors import NoStoreError, StoreMismatchError
from mmcache.store.ground.lock import writer_lock
from mmcache.store.manage.merge import merge_stores

Tree = Callable[[Path], dict[str, bytes]]
MakePart = Callable[..., Path]
Status = dict[str, list[int]]


def test_all_differences_of_the_parts_are_told_at_once(
    make_part: MakePart,
    make_segments: Callable[[int], pd.DataFrame],
    make_folder: Callable[[], Path],
    tree: Tree,
    status: Status,
    n_segments: int,
    fingerprint: Fingerprint,
) -> None:
    segments = make_segments(n_segments)
    one = make_part({"rgb": status["rgb"], "audio": status["audio"]})
    other_tasks = {"verb": ["take", "cut", "wash"], "noun": ["cup", "pan", "box", "fork"]}
    two = make_part(
        {"rgb": status["rgb"]},
        segments.assign(verb=(segments["verb"] + 1) % 3),
        meta={"dataset": "other", "tasks": other_tasks},
        fingerprint=dataclasses.replace(fingerprint, weights_sha256="1" * 64, code_version=2),
    )
    three = make_part({"audio": status["audio"]}, segments.assign(extra=1))
    root = make_folder() / "new" / "one.zarr"
    before = [tree(part) for part in (one, two, three)]
    with pytest.raises(StoreMismatchError) as caught:
        merge_stores([one, two, three], root)
    said = str(caught.value)
    for expected in (
        f"{one} and {two} differ in their dataset: 'toy' and 'other'",
        f"{one} and {two} differ in their tasks",
        f"{one} and {two} have different rows for the same segments",
        f"{one} and {three} differ in the columns of their segments",
        "weights_sha256: the store has '0000",
        "code_version: the store has 1, this run 2",
    ):
        assert expected in said
    assert [tree(part) for part in (one, two, three)] == before
    assert list(root.parent.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("one", "two"), [([1, 2, 3, 4], [1.0, np.nan, 2.0, 3.0]), ([None] * 4, list("abcd"))], ids=["numbers", "texts"]
)
def test_a_column_whose_type_a_gap_changed_is_no_difference(
    one: list[Any],
    two: list[Any],
    make_part: MakePart,
    make_segments: Callable[[int], pd.DataFrame],
    make_folder: Callable[[], Path],
) -> None:
    segments = make_segments(8)
    parts = [
        make_part({}, segments.iloc[rows].assign(extra=values).reset_index(drop=True))
        for rows, values in ((slice(0, 4), one), (slice(4, 8), two))
    ]
    assert len(merge_stores(parts, make_folder() / "one.zarr")) == 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens": 5}, r"holds int8 \(2, 5, 2\), .* int8 \(2, 3, 2\)"),
        ({"width": 7}, r"holds int8 \(2, 3, 7\), .* int8 \(2, 3, 2\)"),
        ({"views": 1}, r"holds int8 \(1, 3, 2\), .* int8 \(2, 3, 2\)"),
        ({"dtype": "float16"}, r"holds float16 \(2, 3, 2\), .* int8 \(2, 3, 2\)"),
        ({"has_lengths": False}, "only one of .* has token counts"),
    ],
)
def test_tokens_of_another_kind_are_refused(
    change: dict[str, Any],
    message: str,
    make_part: MakePart,
    make_folder: Callable[[], Path],
    monkeypatch: pytest.MonkeyPatch,
    status: Status,
    kinds: dict,
) -> None:
    one = make_part({"audio": status["audio"]})
    monkeypatch.setitem(kinds, "audio", dataclasses.replace(kinds["audio"], **change))
    two = make_part({"audio": status["audio"]})
    root = make_folder() / "one.zarr"
    with pytest.raises(StoreMismatchError, match=message):
        merge_stores([one, two], root)
    assert list(root.parent.iterdir()) == []


def test_compressed_tokens_are_refused(
    make_part: MakePart, make_folder: Callable[[], Path], status: Status, n_segments: int
) -> None:
    one, two = make_part({"rgb": status["rgb"]}), make_part({"rgb": status["rgb"]})
    path = two / "tokens/rgb/enc"
    attributes = read_attributes(path)
    shutil.rmtree(path)
    spec = {"shape": (n_segments, 1, 2, 4), "shards": (2, 1, 2, 4), "chunks": (1, 1, 2, 4), "dtype": "float16"}
    zarr.create_array(path, compressors=ZstdCodec(), attributes=attributes, **spec)
    root = make_folder() / "one.zarr"
    for parts in ([one, two], [two, one], [two]):
        with pytest.raises(StoreMismatchError, match="tokens/rgb/enc is compressed or foreign"):
            merge_stores(parts, root)
    assert list(root.parent.iterdir()) == []


def test_what_is_no_store_is_refused(make_part: MakePart, make_folder: Callable[[], Path], status: Status) -> None:
    part, folder = make_part(status), make_folder()
    with pytest.raises(NoStoreError, match=r"no store at .*nowhere\.zarr"):
        merge_stores([part, folder / "nowhere.zarr"], folder / "one.zarr")
    with pytest.raises(ConfigError, match="nothing to merge: name at least one store"):
        merge_stores([], folder / "one.zarr")
    (folder / "link.zarr").symlink_to(part)
    for same in (part, folder / "link.zarr", part / ".." / part.name):
        with pytest.raises(ConfigError, match="is one of the stores to merge; give another --store"):
            merge_stores([part], same)
    assert [path.name for path in folder.iterdir()] == ["link.zarr"]


def test_a_result_of_other_segments_is_left_alone(
    make_part: MakePart, make_segments: Callable[[int], pd.DataFrame], tree: Tree, status: Status, n_segments: int
) -> None:
    root = make_part({}, make_segments(n_segments + 1))
    before = tree(root)
    with pytest.raises(StoreMismatchError, match="was made from other annotations"):
        merge_stores([make_part(status)], root)
    assert tree(root) == before


def test_a_result_that_another_process_writes_is_left_alone(
    make_part: MakePart, make_folder: Callable[[], Path], status: Status
) -> None:
    part, root = make_part(status), make_folder() / "one.zarr"
    with writer_lock(root), pytest.raises(StoreError, match="is being written by another process"):
        merge_stores([part], root)
    assert not root.exists()
