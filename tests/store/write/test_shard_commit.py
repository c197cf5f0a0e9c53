import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mmcache.store import FeatureStore, StoreError
from mmcache.store.files.sealed import spare_of
from mmcache.store.format.fingerprint import Fingerprint
from mmcache.store.format.layout import Presence, StoreMeta
from mmcache.store.format.reports import finish_reports
from mmcache.store.ground.errors import UnstorableTokens
from mmcache.store.manage.verify import verify
from mmcache.store.write.add_tokens import add_tokens
from mmcache.store.write.shard_commit import OldShard, ShardCommit
from mmcache.store.write.token_writer import TokenWriter

PROPERTY = settings(max_examples=15)
N = 5
ONES = np.ones((1, 2, 3), np.float16)
MakeSegments = Callable[[int], pd.DataFrame]
MakeMeta = Callable[[pd.DataFrame], StoreMeta]
Tree = Callable[[Path], dict[str, bytes]]


def test_a_shard_that_was_not_committed_stays_to_do(writer: TokenWriter) -> None:
    commit = ShardCommit(writer, 0)
    commit.put(0, ONES)
    commit.missing(1)
    assert writer.presence().tolist() == [Presence.TO_DO] * N
    commit.abort()
    assert writer.presence().tolist() == [Presence.TO_DO] * N
    assert FeatureStore.open(writer.root).rows().tolist() == []
    assert verify(writer.root) == []


@PROPERTY
@given(data=st.data())
def test_done_in_parts_equals_done_at_once(
    data: st.DataObject,
    make_store: Callable[..., Path],
    random_tokens: Callable[..., NDArray[np.floating]],
    make_folder: Callable[[], Path],
    tree: Callable[[Path], dict[str, bytes]],
) -> None:
    """Rows in random parts, each part's shards in random order, lengths and failures with them."""
    n, views = 7, 2
    statuses = data.draw(
        st.lists(st.sampled_from([Presence.CACHED, Presence.MISSING, Presence.FAILED]), min_size=n, max_size=n)
    )
    part_of = data.draw(st.lists(st.integers(0, 2), min_size=n, max_size=n))
    tokens = random_tokens(n, views, 2, 3)
    presence = np.array(statuses)
    lengths = np.where(presence[:, None] == Presence.CACHED, np.array([[1, 2]]), 0)
    at_once = make_store({"m": tokens}, 3, {"m": presence}, {"m": lengths})

    in_parts = make_folder() / "toy.zarr"
    shutil.copytree(at_once, in_parts)
    for kind in ("tokens", "length", "present"):
        shutil.rmtree(in_parts / kind / "m" / "enc" / "c", ignore_errors=True)
    for file in (in_parts / "failures.jsonl", spare_of(in_parts, "failures.jsonl")):
        file.unlink(missing_ok=True)
    finish_reports(in_parts)
    writer = TokenWriter(in_parts, "m", "enc")
    assert (writer.presence() == Presence.TO_DO).all()
    for part in range(3):
        for shard in data.draw(st.permutations(range(writer.grid.n_shards))):
            commit = ShardCommit(writer, shard)
            for row in (row for row in writer.grid.rows(shard) if part_of[row] == part):
                if statuses[row] == Presence.CACHED:
                    commit.put(row, tokens[row], lengths[row])
                elif statuses[row] == Presence.MISSING:
                    commit.missing(row)
                else:
                    commit.failed(row)
                    commit.report(f"P01_{row:03}", Presence.FAILED, "bad file")
            commit.commit()
        if data.draw(st.booleans()):
            finish_reports(in_parts)
    finish_reports(in_parts)
    assert tree(in_parts) == tree(at_once)


@pytest.mark.parametrize("row", [-1, 2, 4])
@pytest.mark.parametrize("settle_row", ["put", "missing", "failed"])
def test_rows_of_another_shard_are_refused(writer: TokenWriter, row: int, settle_row: str) -> None:
    commit = ShardCommit(writer, 0)
    with pytest.raises(ValueError, match=rf"rows of shard 0 must ascend within range\(0, 2\): got {row}"):
        getattr(commit, settle_row)(row, *([ONES] if settle_row == "put" else []))
    commit.abort()


def test_rows_must_ascend(writer: TokenWriter) -> None:
    commit = ShardCommit(writer, 0)
    commit.put(1, ONES)
    for row in (1, 0):
        with pytest.raises(ValueError, match="must ascend"):
            commit.missing(row)
    commit.abort()


def test_a_damaged_chunk_is_not_carried_over(
    writer: TokenWriter, tree: Callable[[Path], dict[str, bytes]], settle: Callable[..., None]
) -> None:
    settle(writer, {0: Presence.CACHED})
    shard = writer.path / "c/0/0/0/0"
    raw = bytearray(shard.read_bytes())
    raw[3] ^= 1
    shard.write_bytes(raw)
    before = tree(writer.root)
    commit = ShardCommit(writer, 0)
    with pytest.raises(StoreError, match=r"c/0/0/0/0 has a damaged chunk; run `mmcache store verify --repair`"):
        commit.put(1, ONES)
    commit.abort()
    assert tree(writer.root) == before


def test_presence_without_tokens_is_not_carried_over(writer: TokenWriter, settle: Callable[..., None]) -> None:
    settle(writer, {0: Presence.CACHED})
    (writer.path / "c/0/0/0/0").unlink()
    commit = ShardCommit(writer, 0)
    with pytest.raises(StoreError, match=r"c/0/0/0/0 lacks tokens that presence lists as cached"):
        commit.put(1, ONES)
    commit.abort()


# Every kind of array: lengths, scales and rounding errors beside the tokens.


@pytest.fixture
def rich(empty_store: Path, fingerprint: Fingerprint) -> TokenWriter:
    """Of q/enc, int8 (5, 2, 2, 3) with lengths, in shards of two rows; rows 0, 1 and 2 are cached."""
    rich = add_tokens(empty_store, "q", fingerprint, 2, 3, views=2, dtype="int8", shard_bytes=24, variable_length=True)
    for shard in range(2):
        commit = ShardCommit(rich, shard)
        for row in commit.rows[: 2 - shard]:
            commit.put(row, np.full((2, 2, 3), row + 1.5, np.float16), np.array([1, 2]))
        commit.commit()
    finish_reports(empty_store)
    assert rich.presence().tolist() == [Presence.CACHED] * 3 + [Presence.TO_DO] * 2
    assert verify(empty_store) == []
    return rich


def beside(writer: TokenWriter, row: int) -> list[float]:
    store = FeatureStore.open(writer.root)
    return [*store.lengths["q"][row].tolist(), *store.errors["q"][row].tolist()]


@pytest.mark.parametrize("what", ["missing", "failed", "to_do"])
def test_a_row_that_is_cleared_leaves_neither_chunks_nor_values_and_its_neighbour_stays(
    rich: TokenWriter, what: str
) -> None:
    before = FeatureStore.open(rich.root)
    kept = before.tokens["q"].read_float(np.array([0]), 1, check=True), beside(rich, 0)
    commit = ShardCommit(rich, 0)
    getattr(commit, what)(1)
    if what == "failed":
        commit.report("P01_001", Presence.FAILED, "bad file")
    commit.commit()
    finish_reports(rich.root)
    assert rich.presence().tolist()[:2] == [Presence.CACHED, getattr(Presence, what.upper())]
    assert beside(rich, 1)[:2] == [0, 0]
    assert np.isnan(beside(rich, 1)[2:]).all()
    store = FeatureStore.open(rich.root)
    for view in range(2):
        assert (store.tokens["q"].read_float(np.array([1]), view) == 0).all()
    np.testing.assert_array_equal(store.tokens["q"].read_float(np.array([0]), 1, check=True), kept[0])
    assert beside(rich, 0) == kept[1]
    assert verify(rich.root) == []


def test_a_row_that_is_forgotten_and_put_again_gives_the_same_bytes(rich: TokenWriter, tree: Tree) -> None:
    """What a repair and the next run do."""
    before = tree(rich.root)
    commit = ShardCommit(rich, 0)
    commit.to_do(1)
    commit.commit()
    assert tree(rich.root) != before
    commit = ShardCommit(rich, 0)
    commit.put(1, np.full((2, 2, 3), 2.5, np.float16), np.array([1, 2]))
    commit.commit()
    finish_reports(rich.root)
    assert tree(rich.root) == before


def test_a_shard_of_which_all_rows_are_forgotten_is_no_file(rich: TokenWriter) -> None:
    commit = ShardCommit(rich, 1)
    commit.to_do(2)
    commit.commit()
    assert not rich.shard_path("tokens", 1).exists()
    assert not rich.shard_path("scale", 1).exists()
    assert rich.shard_path("tokens", 0).exists()


def test_a_shard_that_is_opened_and_committed_unchanged_keeps_its_bytes(rich: TokenWriter, tree: Tree) -> None:
    before = tree(rich.root)
    for shard in range(2):
        ShardCommit(rich, shard).commit()
    finish_reports(rich.root)
    assert tree(rich.root) == before


def test_an_abort_leaves_everything_as_it_was_whatever_was_done_before(rich: TokenWriter, tree: Tree) -> None:
    before = tree(rich.root)
    for settled in range(4):
        commit = ShardCommit(rich, 1)
        if settled > 0:
            commit.put(2, np.ones((2, 2, 3), np.float16), np.array([2, 2]))
        if settled > 1:
            commit.failed(3)
        if settled > 2:
            commit.report("P01_003", Presence.FAILED, "bad file")
        commit.abort()
        assert tree(rich.root) == before


def test_the_end_of_a_with_block_commits(writer: TokenWriter) -> None:
    with ShardCommit(writer, 0) as commit:
        commit.put(0, ONES)
        commit.missing(1)
    assert writer.presence().tolist() == [Presence.CACHED, Presence.MISSING, *[Presence.TO_DO] * (N - 2)]
    finish_reports(writer.root)
    assert verify(writer.root) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_exception_in_a_with_block_leaves_the_shard_as_it_was_and_is_raised(
    writer: TokenWriter, tree: Tree, error: type[BaseException]
) -> None:
    def put_and_raise() -> None:
        with ShardCommit(writer, 0) as commit:
            commit.put(0, ONES)
            raise error

    before = tree(writer.root)
    with pytest.raises(error):
        put_and_raise()
    assert tree(writer.root) == before


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_tokens_that_cannot_be_stored_leave_the_commit_as_it_was(rich: TokenWriter, bad: float) -> None:
    """The segment is then settled as failed, in the same commit."""
    tokens = np.ones((2, 2, 3), np.float16)
    tokens[1, 1, 2] = bad
    commit = ShardCommit(rich, 1)
    with pytest.raises(UnstorableTokens, match="NaN or infinity"):
        commit.put(3, tokens, np.array([2, 2]))
    commit.failed(3)
    commit.report("P01_003", Presence.FAILED, "the encoder gave NaN")
    commit.commit()
    finish_reports(rich.root)
    assert rich.presence().tolist() == [*[Presence.CACHED] * 3, Presence.FAILED, Presence.TO_DO]
    assert verify(rich.root) == []


def test_a_shard_whose_index_is_damaged_is_not_begun(rich: TokenWriter, tree: Tree) -> None:
    file = rich.shard_path("tokens", 0)
    file.write_bytes(file.read_bytes()[:-1])
    before = tree(rich.root)
    with pytest.raises(StoreError, match=r"tokens/q/enc/c/0/0/0/0 .*damaged"):
        ShardCommit(rich, 0)
    assert tree(rich.root) == before


@pytest.mark.parametrize("kind", ["present", "length", "error"])
def test_a_shard_beside_which_a_chunk_is_damaged_is_not_begun(rich: TokenWriter, kind: str, tree: Tree) -> None:
    (file,) = (path for path in (rich.root / kind / "q/enc/c").glob("0*/**/*" if kind != "present" else "0"))
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    before = tree(rich.root)
    with pytest.raises(StoreError, match=f"{kind}/q/enc cannot be read .*verify --repair"):
        ShardCommit(rich, 0)
    assert tree(rich.root) == before


@pytest.mark.parametrize("kind", ["tokens", "scale"])
def test_an_old_shard_gives_its_chunks_and_refuses_damaged_and_absent_ones(rich: TokenWriter, kind: str) -> None:
    path = rich.shard_path(kind, 1)
    old = OldShard(path, 4)
    for slot in range(4):  # two rows of two views, of which the second row is not there
        raw = old.raw(slot)
        if slot < 2:
            assert raw is not None
            assert old.chunk(slot, rich.path) == raw[:-4]
        else:
            assert raw is None
            with pytest.raises(
                StoreError, match="lacks tokens that presence lists as cached; run `mmcache store verify"
            ):
                old.chunk(slot, rich.path)
    old.close()
    whole = path.read_bytes()
    first = OldShard(path, 4)
    size = int(first.index[0, 1])
    first.close()
    for place in range(size):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        old = OldShard(path, 4)
        with pytest.raises(StoreError, match="has a damaged chunk; run `mmcache store verify --repair`"):
            old.chunk(0, rich.path)
        old.close()


def test_an_old_shard_that_is_not_there_has_no_chunks(tmp_path: Path) -> None:
    old = OldShard(tmp_path / "0", 4)
    assert [old.raw(slot) for slot in range(4)] == [None] * 4
    old.close()


# Whole shards taken over.


def test_an_adopted_shard_is_the_same_bytes_as_one_put_chunk_by_chunk(
    rich: TokenWriter, make_folder: Callable[[], Path], fingerprint: Fingerprint, tree: Tree
) -> None:
    stores = [Path(shutil.copytree(rich.root, make_folder() / "toy.zarr")) for _ in range(2)]
    for root, adopts in zip(stores, (True, False), strict=True):
        shutil.rmtree(root / "tokens/q/enc")
        writer = add_tokens(root, "q", fingerprint, 2, 3, views=2, dtype="int8", shard_bytes=24, variable_length=True)
        for shard in range(2):
            commit = ShardCommit(writer, shard)
            if adopts:
                commit.adopt({kind: rich.shard_path(kind, shard) for kind in ("tokens", "scale")})
            assert commit.is_adopted == adopts
            given = FeatureStore.open(rich.root)
            old = {kind: OldShard(rich.shard_path(kind, shard), 4) for kind in ("tokens", "scale")}
            for row in commit.rows[: 2 - shard]:
                slots = range(2 * (row - commit.rows.start), 2 * (row - commit.rows.start) + 2)
                chunks = {kind: [file.chunk(slot, rich.path) for slot in slots] for kind, file in old.items()}
                values = {"length": given.lengths["q"][row], "error": given.errors["q"][row]}
                commit.put_stored(row, {} if adopts else chunks, values)
            commit.commit()
            for file in old.values():
                file.close()
        finish_reports(root)
        assert verify(root) == []
    assert tree(stores[0]) == tree(stores[1]) == tree(rich.root)


def test_a_shard_is_not_adopted_over_what_is_cached(rich: TokenWriter) -> None:
    commit = ShardCommit(rich, 0)
    with pytest.raises(AssertionError, match="would replace what is cached"):
        commit.adopt({"tokens": rich.shard_path("tokens", 1)})
    commit.abort()


# A disk that takes no more.


def test_a_commit_that_meets_a_full_disk_leaves_the_shard_as_it_was(rich: TokenWriter, tree: Tree) -> None:
    """Here the system refuses to let a file grow past some bytes, at each size in turn."""
    before = tree(rich.root)
    sizes = range(0, rich.shard_path("scale", 0).stat().st_size, 7)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for size in sizes:
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
            with pytest.raises(OSError, match="File too large"), ShardCommit(rich, 0) as commit:
                commit.put(0, np.ones((2, 2, 3), np.float16), np.array([2, 2]))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        found = tree(rich.root)
        assert {name for name in before.keys() | found.keys() if before.get(name) != found.get(name)} <= {
            "tokens/q/enc/c/0/0/0/0"  # whole and new, while presence and what stands beside are the old ones
        }
        assert rich.presence().tolist() == [Presence.CACHED] * 3 + [Presence.TO_DO] * 2
        shutil.rmtree(rich.root)
        for name, data in before.items():
            (rich.root / name).parent.mkdir(parents=True, exist_ok=True)
            (rich.root / name).write_bytes(data)


def test_a_shard_committed_twice_before_the_reports_are_finished_loses_none(writer: TokenWriter) -> None:
    """As when a run was killed, and the next one does other rows of the shard."""
    for row, reason in ((0, "first"), (1, "second")):
        commit = ShardCommit(writer, 0)
        commit.failed(row)
        commit.report(f"P01_{row:03}", Presence.FAILED, reason)
        commit.commit()
    finish_reports(writer.root)
    assert [line["reason"] for line in FeatureStore.open(writer.root).failures] == ["first", "second"]
    assert verify(writer.root) == []
