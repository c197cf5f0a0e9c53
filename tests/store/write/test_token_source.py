import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmcache.store import FeatureStore, Presence
from mmcache.store.format.fingerprint import Fingerprint
from mmcache.store.format.layout import StoreMeta
from mmcache.store.format.reports import finish_reports
from mmcache.store.ground.errors import ConfigError, UnstorableTokens
from mmcache.store.manage.verify import verify
from mmcache.store.write.create import create_store
from mmcache.store.write.token_source import TokenSource, check_dtype, no_progress, write_source

C, M, F, T = Presence.CACHED, Presence.MISSING, Presence.FAILED, Presence.TO_DO
N, SHARD_BYTES = 6, 2 * 12  # shards of two rows
Tree = Callable[[Path], dict[str, bytes]]


class Reads:
    """Tokens that say of which row they are; remembers which rows were read, and what to raise for some."""

    def __init__(self, errors: dict[int, Exception] | None = None) -> None:
        self.rows: list[int] = []
        self.errors = errors or {}

    def __call__(self, row: int) -> tuple[np.ndarray, None]:
        self.rows.append(row)
        if row in self.errors:
            raise self.errors[row]
        return np.full((1, 2, 3), row + 1, np.float16), None


@pytest.fixture
def root(
    tmp_path: Path, make_segments: Callable[[int], pd.DataFrame], make_meta: Callable[[pd.DataFrame], StoreMeta]
) -> Path:
    create_store(tmp_path / "toy.zarr", make_segments(N), make_meta(make_segments(N)))
    return tmp_path / "toy.zarr"


@pytest.fixture
def source(fingerprint: Fingerprint) -> TokenSource:
    ids = [f"P01_{row:03}" for row in range(N)]
    status = np.array([C, M, F, T, C, C], np.uint8)
    return TokenSource("m", fingerprint, (1, 2, 3), "float16", False, status, Reads(), ids, {ids[2]: "bad file"})


def write(root: Path, source: TokenSource, **changes: object) -> list[int]:
    """Which rows were read."""
    reads = changes.setdefault("read", Reads())
    assert isinstance(reads, Reads)
    try:
        write_source(root, dataclasses.replace(source, **changes), SHARD_BYTES, no_progress)
    finally:
        finish_reports(root)
    return reads.rows


def test_each_row_becomes_what_the_source_says_of_it(root: Path, source: TokenSource) -> None:
    assert write(root, source) == [0, 4, 5]
    store = FeatureStore.open(root)
    assert store.present["m"].tolist() == source.status.tolist()
    assert store.tokens["m"].read(np.arange(N))[:, 0, 0].tolist() == [1, 0, 0, 0, 5, 6]
    assert [(line["id"], line["reason"]) for line in store.failures] == [("P01_002", "bad file")]
    assert verify(root) == []


def test_a_second_time_nothing_is_read_and_nothing_written(root: Path, source: TokenSource, tree: Tree) -> None:
    write(root, source)
    before = tree(root)
    assert write(root, source) == []
    assert tree(root) == before


def test_what_is_known_later_is_added(root: Path, source: TokenSource) -> None:
    write(root, source)
    later = np.array([C, C, F, C, C, C], np.uint8)
    assert write(root, source, status=later) == [1, 3]
    assert FeatureStore.open(root).present["m"].tolist() == later.tolist()


def test_tokens_that_cannot_be_used_fail_with_their_reason_and_the_rest_goes_on(
    root: Path, source: TokenSource
) -> None:
    assert write(root, source, read=Reads({4: UnstorableTokens("file 4 is empty")})) == [0, 4, 5]
    store = FeatureStore.open(root)
    assert store.present["m"].tolist() == [C, M, F, T, F, C]
    assert {line["id"]: line["reason"] for line in store.failures}["P01_004"] == "file 4 is empty"
    assert verify(root) == []


@pytest.mark.parametrize("retry", [False, True])
def test_what_failed_is_read_again_only_when_asked(root: Path, source: TokenSource, retry: bool) -> None:
    write(root, source, read=Reads({4: UnstorableTokens("file 4 is empty")}))
    assert write(root, source, retry_failed=retry) == ([4] if retry else [])
    assert FeatureStore.open(root).present["m"][4] == (C if retry else F)


@pytest.mark.parametrize("error", [OSError("gone"), RuntimeError("a bug"), KeyboardInterrupt()])
def test_any_other_error_costs_its_shard_only_and_the_same_call_goes_on(
    root: Path, source: TokenSource, error: BaseException, make_folder: Callable[[], Path], tree: Tree
) -> None:
    with pytest.raises(type(error)):
        write(root, source, read=Reads({5: error}))  # type: ignore[dict-item]
    assert FeatureStore.open(root).present["m"].tolist() == [C, M, F, T, T, T]
    assert verify(root) == []
    assert list(root.rglob(".tmp-*")) == []
    assert write(root, source) == [4, 5]
    assert FeatureStore.open(root).present["m"].tolist() == source.status.tolist()


def test_progress_ends_with_all_rows(root: Path, source: TokenSource) -> None:
    steps: list[tuple[str, int, int]] = []
    write_source(root, source, SHARD_BYTES, lambda *step: steps.append(step))
    assert steps == [("m/enc", done, N) for done in (2, 4, 6)]


def test_only_dtypes_that_are_offered_are_taken() -> None:
    assert [check_dtype(dtype, "float32") for dtype in (None, "float16", "int8")] == ["float32", "float16", "int8"]
    with pytest.raises(ConfigError, match="--dtype int4: allowed are float16, float32, int8"):
        check_dtype("int4", "float32")
