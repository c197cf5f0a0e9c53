import dataclasses
import os
import shutil
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

from mmcache.store import ConfigError, FeatureStore, Presence, StoreError, StoreMeta
from mmcache.store.atomic import TEMPORARY_PREFIX
from mmcache.store.create import create_store
from mmcache.store.errors import NoStoreError, StoreMismatchError
from mmcache.store.fingerprint import Fingerprint
from mmcache.store.layout import read_attributes
from mmcache.store.lock import writer_lock
from mmcache.store.merge import merge_stores
from mmcache.store.repair import repair
from mmcache.store.reports import finish_reports
from mmcache.store.verify import verify
from mmcache.store.writer import add_tokens

Tree = Callable[[Path], dict[str, bytes]]
MakePart = Callable[..., Path]
C, M, F, T = Presence.CACHED, Presence.MISSING, Presence.FAILED, Presence.TO_DO
N = 7
BEST_FIRST = (C, F, M)
ENC = Fingerprint("enc", "random:0", "0" * 64, {"size": [8, 8]}, None, 1)


@dataclasses.dataclass(frozen=True)
class Kind:
    """How a modality of these tests is stored."""

    views: int
    tokens: int
    width: int
    dtype: str
    has_lengths: bool


KINDS = {
    "audio": Kind(2, 3, 2, "int8", True),
    "imu": Kind(1, 2, 3, "float32", True),
    "rgb": Kind(1, 2, 4, "float16", False),
}


def drawn(modality: str, segment: str, salt: str) -> tuple[NDArray[np.float32], NDArray[np.int32] | None]:
    """Tokens (V, T, D) and lengths (V,), which depend on their segment and on who extracted them."""
    kind = KINDS[modality]
    rng = np.random.default_rng(zlib.crc32(f"{salt}/{modality}/{segment}".encode()))
    tokens = rng.standard_normal((kind.views, kind.tokens, kind.width)).astype(np.float32)
    lengths = rng.integers(1, kind.tokens + 1, kind.views).astype(np.int32)
    return tokens, lengths if kind.has_lengths else None


def settle(
    root: Path,
    modality: str,
    status: Sequence[int],
    rows_per_shard: int = 2,
    salt: str = "",
    fingerprint: Fingerprint = ENC,
) -> None:
    """Do what is to do of one modality, as extract does: failures have a reason, missing and odd rows a note."""
    kind, segments = KINDS[modality], FeatureStore.open(root).segments
    writer = add_tokens(
        root,
        modality,
        fingerprint,
        kind.tokens,
        kind.width,
        views=kind.views,
        dtype=kind.dtype,
        shard_bytes=rows_per_shard * kind.views * kind.tokens * kind.width * np.dtype(kind.dtype).itemsize,
        variable_length=kind.has_lengths,
    )
    wanted = (np.array(status) != writer.presence()) & (np.array(status) != T)
    for shard in writer.grid.shards_of(np.flatnonzero(wanted)).tolist():
        commit = writer.shard(shard)
        for row in (row for row in writer.grid.rows(shard) if wanted[row]):
            segment = segments["id"][row]
            if status[row] == C:
                commit.put(row, *drawn(modality, segment, salt))
                if row % 2:
                    commit.report(segment, C, f"{salt}: one frame mended")
            elif status[row] == F:
                commit.failed(row)
                commit.report(segment, F, f"{salt}: bad file of {segment}")
            else:
                commit.missing(row)
                commit.report(segment, M, f"{salt}: no such stream")
        commit.commit()


@pytest.fixture(scope="module")
def make_part(
    make_folder: Callable[[], Path],
    make_segments: Callable[[int], pd.DataFrame],
    make_meta: Callable[[pd.DataFrame], StoreMeta],
) -> MakePart:
    """A store of some segments (default: all N) with modality -> presence; what else there is goes to `settle`."""

    def make(
        presence: Mapping[str, Sequence[int]],
        segments: pd.DataFrame | None = None,
        root: Path | None = None,
        meta: Mapping[str, Any] | None = None,
        **how: Any,
    ) -> Path:
        root = root or make_folder() / "part.zarr"
        table = make_segments(N) if segments is None else segments
        with writer_lock(root):
            if not root.exists():
                create_store(root, table, dataclasses.replace(make_meta(table), **(meta or {})))
            for modality, status in presence.items():
                settle(root, modality, status, **how)
            finish_reports(root)
        return root

    return make


def only(status: Sequence[int], rows: Sequence[int]) -> list[int]:
    """The presence of a part that has only these rows; the others are to do."""
    return [value if row in rows else T for row, value in enumerate(status)]


# The same bytes as one run's.

STATUS = {"audio": [C, F, C, M, C, C, C], "imu": [M, C, C, C, F, C, C], "rgb": [C, C, C, F, C, T, C]}
DIVISIONS: dict[str, list[dict[str, list[int]]]] = {
    "blocks of rows": [{m: only(s, rows) for m, s in STATUS.items()} for rows in ((0, 1, 2, 3), (4, 5, 6))],
    "rows in turn": [{m: only(s, range(part, N, 3)) for m, s in STATUS.items()} for part in range(3)],
    "modalities": [{m: s} for m, s in STATUS.items()],
    "splits": [{m: only(s, rows) for m, s in STATUS.items()} for rows in ((0, 1, 2, 4, 5, 6), (3,))],
    "rows of one, modalities of the others": [
        {"audio": only(STATUS["audio"], range(4))},
        {"audio": only(STATUS["audio"], range(4, N)), "imu": STATUS["imu"]},
        {"rgb": STATUS["rgb"]},
    ],
    "one part": [STATUS],
}


@pytest.fixture(scope="module")
def in_one_go(make_part: MakePart) -> Path:
    return make_part(STATUS)


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("division", DIVISIONS)
def test_parts_merge_to_the_bytes_of_one_run(
    division: str, backwards: bool, make_part: MakePart, in_one_go: Path, make_folder: Callable[[], Path], tree: Tree
) -> None:
    parts = [make_part(presence) for presence in DIVISIONS[division]]
    before = [tree(part) for part in parts]
    merged = merge_stores(parts[::-1] if backwards else parts, make_folder() / "new" / "one.zarr")
    assert tree(merged.path) == tree(in_one_go)
    assert [tree(part) for part in parts] == before
    assert verify(merged.path) == []


def test_parts_of_different_segments_merge_to_the_bytes_of_one_run(
    make_part: MakePart, make_segments: Callable[[int], pd.DataFrame], make_folder: Callable[[], Path], tree: Tree
) -> None:
    segments = make_segments(8).sort_values("split", kind="stable", ignore_index=True)
    status = {m: [*s, C] for m, s in STATUS.items()}
    whole = make_part(status, segments)
    parts = []
    for split in ("train", "validation"):
        rows = np.flatnonzero(segments["split"] == split)
        own = {m: [s[row] for row in rows] for m, s in status.items()}
        parts.append(make_part(own, segments.iloc[rows].reset_index(drop=True), meta={"eval_split": "validation"}))
    assert tree(merge_stores(parts, make_folder() / "one.zarr").path) == tree(whole)


# Whatever the parts have, the best of it.


@st.composite
def any_parts(draw: st.DrawFn) -> list[tuple[list[int], dict[str, list[int]], int]]:
    """Parts: which segments, modality -> presence of these, rows a shard."""
    parts = []
    for _ in range(draw(st.integers(1, 3))):
        ids = draw(st.lists(st.integers(0, N - 1), min_size=1, max_size=N, unique=True))
        modalities = draw(st.lists(st.sampled_from(["audio", "rgb"]), min_size=1, max_size=2, unique=True))
        presence = st.lists(st.sampled_from([C, C, F, M, T]), min_size=len(ids), max_size=len(ids))
        parts.append((ids, {modality: draw(presence) for modality in modalities}, draw(st.integers(1, 4))))
    return parts


@st.composite
def parts_of_one_table(draw: st.DrawFn) -> list[tuple[list[int], dict[str, list[int]], int]]:
    """As any_parts, of the same segments and shards, so that whole shards can be taken over."""
    presence = st.lists(st.sampled_from([C, C, F, M, T]), min_size=N, max_size=N)
    n_parts, rows_per_shard = draw(st.integers(2, 3)), draw(st.integers(2, 4))
    return [(list(range(N)), {m: draw(presence) for m in ("audio", "rgb")}, rows_per_shard) for _ in range(n_parts)]


@settings(max_examples=40)
@given(st.one_of(any_parts(), parts_of_one_table()))
def test_every_row_reads_as_in_the_part_that_knows_most_of_it(
    make_part: MakePart,
    make_segments: Callable[[int], pd.DataFrame],
    make_folder: Callable[[], Path],
    parts: list[tuple[list[int], dict[str, list[int]], int]],
) -> None:
    """CACHED beats FAILED beats MISSING beats TO_DO; of equals, the first part wins."""
    everything = make_segments(N)
    stores = []
    for number, (rows, presence, rows_per_shard) in enumerate(parts):
        own = everything.iloc[rows].reset_index(drop=True)
        how = {"rows_per_shard": rows_per_shard, "salt": f"part {number}", "meta": {"eval_split": "validation"}}
        stores.append(FeatureStore.open(make_part(presence, own, **how)))
    merged = merge_stores([store.path for store in stores], make_folder() / "one.zarr")

    assert verify(merged.path) == []
    order = list(dict.fromkeys(row for rows, _, _ in parts for row in rows))
    assert merged.segments.to_dict("records") == everything.iloc[order].to_dict("records")
    assert merged.meta.splits == merged.segments["split"].value_counts().to_dict()
    for modality in merged.modalities:
        having = [store for store in stores if modality in store.modalities]
        reported = {(line["id"], line["modality"]): line for line in (*merged.failures, *merged.notes)}
        for row, segment in enumerate(merged.segments["id"]):
            known = [
                (BEST_FIRST.index(status), number, store, there)
                for number, store in enumerate(having)
                for there in np.flatnonzero(store.segments["id"] == segment).tolist()
                if (status := Presence(int(store.present[modality][there]))) != T
            ]
            if not known:
                assert merged.present[modality][row] == T
                continue
            _, _, best, there = min(known, key=lambda entry: entry[:2])
            assert merged.present[modality][row] == best.present[modality][there]
            _assert_same_row(merged, row, best, there, modality)
            theirs = {(line["id"], line["modality"]): line for line in (*best.failures, *best.notes)}
            assert reported.get((segment, modality)) == theirs.get((segment, modality))


def _assert_same_row(one: FeatureStore, row: int, other: FeatureStore, there: int, modality: str) -> None:
    ours, theirs = one.tokens[modality], other.tokens[modality]
    for view in range(KINDS[modality].views):
        np.testing.assert_array_equal(ours.read(np.array([row]), view), theirs.read(np.array([there]), view))
        if ours.scale is not None and theirs.scale is not None:
            scales = [array.scale.read(np.array([i]), view) for array, i in ((ours, row), (theirs, there))]
            np.testing.assert_array_equal(*scales)
    for kind in ("lengths", "errors"):
        mine, its = (getattr(store, kind)[modality] for store in (one, other))
        assert (mine is None) == (its is None)
        if mine is not None:
            np.testing.assert_array_equal(mine[row], its[there])


# Again, and more.


def test_merging_again_changes_nothing(make_part: MakePart, make_folder: Callable[[], Path], tree: Tree) -> None:
    parts = [make_part(presence) for presence in DIVISIONS["rows in turn"]]
    merged = merge_stores(parts, make_folder() / "one.zarr").path
    before = {path: path.stat().st_mtime_ns for path in merged.rglob("*")}
    content = tree(merged)
    merge_stores(parts, merged)
    assert tree(merged) == content
    assert {path: path.stat().st_mtime_ns for path in merged.rglob("*") if path != merged} == {
        path: then for path, then in before.items() if path != merged
    }


def test_after_a_part_has_grown_only_what_is_new_is_taken_over(
    make_part: MakePart, make_folder: Callable[[], Path], in_one_go: Path, tree: Tree
) -> None:
    first, second = DIVISIONS["blocks of rows"]
    parts = [make_part(first), make_part({m: only(s, (4,)) for m, s in second.items()})]
    merged = merge_stores(parts, make_folder() / "one.zarr").path
    assert tree(merged) != tree(in_one_go)
    settled = [merged / f"tokens/{modality}/enc/c/{shard}/0/0/0" for modality in STATUS for shard in (0, 1)]
    before = [(file.stat().st_ino, file.stat().st_mtime_ns) for file in settled if file.exists()]
    make_part(second, root=parts[1])
    merge_stores(parts, merged)
    assert tree(merged) == tree(in_one_go)
    assert [(file.stat().st_ino, file.stat().st_mtime_ns) for file in settled if file.exists()] == before


def test_what_failed_and_was_put_right_since_is_taken_over(
    make_part: MakePart, make_folder: Callable[[], Path], in_one_go: Path, tree: Tree
) -> None:
    worse = {m: [F if row == 2 else value for row, value in enumerate(s)] for m, s in STATUS.items()}
    part = make_part(worse)
    merged = merge_stores([part], make_folder() / "one.zarr")
    assert {line["id"] for line in merged.failures} > {"P01_002"}
    make_part(STATUS, root=part)
    assert tree(merge_stores([part], merged.path).path) == tree(in_one_go)


def test_a_merge_finishes_the_reports_of_one_that_was_cut_short(
    make_part: MakePart, make_folder: Callable[[], Path], in_one_go: Path, tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = [make_part(presence) for presence in DIVISIONS["blocks of rows"]]
    root = make_folder() / "one.zarr"

    class Stopped(Exception):
        pass

    def stop(name: str, done: int, total: int) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        merge_stores(parts, root, stop)
    assert verify(root) == []
    assert tree(merge_stores(parts, root).path) == tree(in_one_go)


# By reference.


def shards(root: Path) -> dict[str, Path]:
    files = [file for kind in ("tokens", "scale") for file in (root / kind).glob("*/*/c/**/0") if file.is_file()]
    return {str(file.relative_to(root)): file for file in files}


def test_whole_shards_are_one_file_and_survive_the_removal_of_the_part(make_part: MakePart, tmp_path: Path) -> None:
    """On file systems that clone, they share their bytes under another inode, which no test can see."""
    rows = (range(4), range(4, N))
    parts = [
        make_part({m: only(s, part) for m, s in STATUS.items()}, root=tmp_path / f"{part.start}.zarr") for part in rows
    ]
    given = {name: file for part in parts for name, file in shards(part).items()}
    merged = merge_stores(parts, tmp_path / "one.zarr")
    assert shards(merged.path).keys() == given.keys()
    assert len(given) >= 12
    if _can_clone(tmp_path):
        pytest.skip("this file system clones")
    assert all(file.stat().st_ino == given[name].stat().st_ino for name, file in shards(merged.path).items())
    for part in parts:
        shutil.rmtree(part)
    assert verify(merged.path) == []


def _can_clone(folder: Path) -> bool:
    from mmcache.store.atomic import reference_copy

    (folder / "a").write_bytes(b"a")
    reference_copy(folder / "a", folder / "b")
    return (folder / "a").stat().st_ino != (folder / "b").stat().st_ino


def test_a_merged_shard_that_is_written_again_leaves_the_part_as_it_was(
    make_part: MakePart, make_folder: Callable[[], Path], tree: Tree
) -> None:
    part = make_part({"rgb": only(STATUS["rgb"], (0, 2))})
    merged = merge_stores([part], make_folder() / "one.zarr").path
    before = tree(part)
    make_part({"rgb": STATUS["rgb"]}, root=merged, salt="other")
    assert tree(part) == before
    assert verify(part) == []
    assert verify(merged) == []


def test_across_file_systems_shards_are_copied(
    make_part: MakePart, make_folder: Callable[[], Path], tmp_path: Path, in_one_go: Path, tree: Tree
) -> None:
    base = make_folder()
    if base.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is only one file system")
    parts = [make_part(presence) for presence in DIVISIONS["blocks of rows"]]
    merged = merge_stores(parts, tmp_path / "one.zarr").path
    for part in parts:
        shutil.rmtree(part)
    assert tree(merged) == tree(in_one_go)
    assert all(file.stat().st_nlink == 1 for file in shards(merged).values())


def test_a_shard_that_two_parts_fill_is_put_together(make_part: MakePart, make_folder: Callable[[], Path]) -> None:
    parts = [make_part({"rgb": only([C] * N, range(start, N, 2))}, salt=str(start)) for start in (0, 1)]
    merged = merge_stores(parts, make_folder() / "one.zarr")
    given = {file.stat().st_ino for part in parts for file in shards(part).values()}
    made = {name for name, file in shards(merged.path).items() if file.stat().st_ino not in given}
    assert made == {f"tokens/rgb/enc/c/{shard}/0/0/0" for shard in range(3)}  # the last one has one row only
    for row in range(N):
        _assert_same_row(merged, row, FeatureStore.open(parts[row % 2]), row, "rgb")


def test_a_whole_shard_is_that_of_the_part_whose_rows_are_taken(
    make_part: MakePart, make_folder: Callable[[], Path]
) -> None:
    """Row 0 failed in the second part; row 1 is in both, so the first part's counts."""
    one = make_part({"audio": only([T, C, C, C, C, C, C], (1,))}, salt="one")
    two = make_part({"audio": only([F, C, C, C, C, C, C], (0, 1))}, salt="two")
    merged = merge_stores([one, two], make_folder() / "one.zarr")
    _assert_same_row(merged, 1, FeatureStore.open(one), 1, "audio")


# Refusals.


def test_all_differences_of_the_parts_are_told_at_once(
    make_part: MakePart, make_segments: Callable[[int], pd.DataFrame], make_folder: Callable[[], Path], tree: Tree
) -> None:
    segments = make_segments(N)
    one = make_part({"rgb": STATUS["rgb"], "audio": STATUS["audio"]})
    other_tasks = {"verb": ["take", "cut", "wash"], "noun": ["cup", "pan", "box", "fork"]}
    two = make_part(
        {"rgb": STATUS["rgb"]},
        segments.assign(verb=(segments["verb"] + 1) % 3),
        meta={"dataset": "other", "tasks": other_tasks, "eval_split": "train"},
        fingerprint=dataclasses.replace(ENC, weights_sha256="1" * 64, code_version=2),
    )
    three = make_part({"audio": STATUS["audio"]}, segments.assign(extra=1))
    root = make_folder() / "new" / "one.zarr"
    before = [tree(part) for part in (one, two, three)]
    with pytest.raises(StoreMismatchError) as caught:
        merge_stores([one, two, three], root)
    said = str(caught.value)
    for expected in (
        f"{one} and {two} differ in their dataset: 'toy' and 'other'",
        f"{one} and {two} differ in their tasks",
        f"{one} and {two} differ in their eval_split: 'validation' and 'train'",
        f"{one} and {two} say different things of the same segments",
        f"{one} and {three} differ in the columns of their segments",
        "weights_sha256: the store has '0000",
        "code_version: the store has 1, this run 2",
    ):
        assert expected in said
    assert [tree(part) for part in (one, two, three)] == before
    assert list(root.parent.parent.iterdir()) == []


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
) -> None:
    one = make_part({"audio": STATUS["audio"]})
    monkeypatch.setitem(KINDS, "audio", dataclasses.replace(KINDS["audio"], **change))
    two = make_part({"audio": STATUS["audio"]})
    root = make_folder() / "one.zarr"
    with pytest.raises(StoreMismatchError, match=message):
        merge_stores([one, two], root)
    assert list(root.parent.iterdir()) == []


def test_compressed_tokens_are_refused(make_part: MakePart, make_folder: Callable[[], Path]) -> None:
    one, two = make_part({"rgb": STATUS["rgb"]}), make_part({"rgb": STATUS["rgb"]})
    path = two / "tokens/rgb/enc"
    attributes = read_attributes(path)
    shutil.rmtree(path)
    spec = {"shape": (N, 1, 2, 4), "shards": (2, 1, 2, 4), "chunks": (1, 1, 2, 4), "dtype": "float16"}
    zarr.create_array(path, compressors=ZstdCodec(), attributes=attributes, **spec)
    root = make_folder() / "one.zarr"
    for parts in ([one, two], [two, one], [two]):
        with pytest.raises(StoreMismatchError, match="tokens/rgb/enc is compressed or foreign"):
            merge_stores(parts, root)
    assert list(root.parent.iterdir()) == []


def test_what_is_no_store_is_refused(make_part: MakePart, make_folder: Callable[[], Path]) -> None:
    part, folder = make_part(STATUS), make_folder()
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
    make_part: MakePart, make_segments: Callable[[int], pd.DataFrame], tree: Tree
) -> None:
    root = make_part({}, make_segments(N + 1))
    before = tree(root)
    with pytest.raises(StoreMismatchError, match="was made from other annotations"):
        merge_stores([make_part(STATUS)], root)
    assert tree(root) == before


def test_a_result_that_another_process_writes_is_left_alone(make_part: MakePart, make_folder: Callable) -> None:
    part, root = make_part(STATUS), make_folder() / "one.zarr"
    with writer_lock(root), pytest.raises(StoreError, match="is being written by another process"):
        merge_stores([part], root)
    assert not root.exists()


# Damage.


@pytest.mark.parametrize("file", ["tokens/audio/enc/c/1/0/0/0", "scale/audio/enc/c/1/0/0/0"])
def test_a_damaged_chunk_is_not_given_a_new_checksum(
    file: str, make_part: MakePart, make_folder: Callable[[], Path], tree: Tree
) -> None:
    """Shard 1 has rows 2 and 3, one of each part, so it is put together chunk by chunk."""
    parts = [make_part({"audio": only([C] * N, range(start, N, 2))}) for start in (0, 1)]
    data = bytearray((parts[1] / file).read_bytes())
    data[1] ^= 4
    (parts[1] / file).write_bytes(data)
    root = make_folder() / "one.zarr"
    with pytest.raises(StoreError, match="has a damaged chunk; run `mmcache store verify --repair` on the store of"):
        merge_stores(parts, root)
    assert not [path for path in root.parent.rglob("*") if path.name.startswith(TEMPORARY_PREFIX)]
    assert verify(root) == []
    assert repair(parts[1]).to_do == {"audio/enc": 1}
    make_part({"audio": only([C] * N, range(1, N, 2))}, root=parts[1])
    assert tree(merge_stores(parts, root).path) == tree(make_part({"audio": [C] * N}))


def test_a_damaged_chunk_in_a_whole_shard_is_found_by_verify(
    make_part: MakePart, make_folder: Callable[[], Path]
) -> None:
    """Its checksum travels with it."""
    part = make_part({"rgb": [C] * N})
    file = part / "tokens/rgb/enc/c/1/0/0/0"
    data = bytearray(file.read_bytes())
    data[1] ^= 4
    file.write_bytes(data)
    merged = merge_stores([part], make_folder() / "one.zarr")
    assert [(finding.segments, finding.problem) for finding in verify(merged.path)] == [
        (("P01_002",), "tokens fail their checksum")
    ]


def test_a_truncated_shard_is_not_taken_over(make_part: MakePart, make_folder: Callable[[], Path]) -> None:
    part = make_part({"rgb": [C] * N})
    os.truncate(part / "tokens/rgb/enc/c/1/0/0/0", 10)
    with pytest.raises(StoreError, match="truncated"):
        merge_stores([part], make_folder() / "one.zarr")


@pytest.mark.parametrize("worse", [F, M])
def test_what_an_earlier_merge_brought_is_not_taken_away(worse, make_part, make_folder) -> None:
    """merge a --store r, then merge b --store r, of the same segments."""
    root = make_folder() / "one.zarr"
    merge_stores([make_part({"rgb": only([C] * N, (0,))})], root)
    merged = merge_stores([make_part({"rgb": [worse, *[T] * 6]})], root)
    assert merged.present["rgb"][0] == C


@pytest.mark.parametrize("first", [T, F])
def test_parts_may_be_merged_one_after_the_other(first, make_part, make_folder) -> None:
    root = make_folder() / "one.zarr"
    merge_stores([make_part({"rgb": only([C] * N, (0,))})], root)
    merged = merge_stores([make_part({"rgb": [first, C, *[T] * 5]})], root)
    assert merged.present["rgb"][:2].tolist() == [C, C]
    assert verify(root) == []


def test_a_chunk_that_a_kill_left_in_a_part_is_not_taken_over(make_part, make_folder) -> None:
    part = make_part({"rgb": only([C] * N, (0,))})
    present = part / "present/rgb/enc/c/0"
    before = present.read_bytes()
    make_part({"rgb": only([C] * N, (0, 1))}, root=part)
    present.write_bytes(before)  # killed after the shard, before its presence
    assert verify(part) == []
    merged = merge_stores([part, make_part({"rgb": [T, F, *[T] * 5]})], make_folder() / "one.zarr")
    assert verify(merged.path) == []


@pytest.mark.parametrize("relative", [False, True])
def test_shards_that_are_links_elsewhere_survive_the_removal_of_the_part(relative, make_part, make_folder) -> None:
    """As git-annex and DVC leave them. Now: a link to a link; a relative one is a FileNotFoundError."""
    import os

    part = make_part({"rgb": [C] * N})
    for file in shards(part).values():
        target = part.parent / f"annex-{file.parents[2].name}"
        file.rename(target)
        file.symlink_to(os.path.relpath(target, file.parent) if relative else target)
    merged = merge_stores([part], make_folder() / "one.zarr")
    assert not any(file.is_symlink() for file in shards(merged.path).values())
    shutil.rmtree(part.parent)
    assert verify(merged.path) == []


@pytest.mark.parametrize(
    ("one", "two"), [([1, 2, 3, 4], [1.0, np.nan, 2.0, 3.0]), ([None] * 4, list("abcd"))], ids=["numbers", "texts"]
)
def test_a_column_whose_type_a_gap_changed_is_no_difference(one, two, make_part, make_segments, make_folder) -> None:
    segments = make_segments(8)
    parts = [
        make_part({}, segments.iloc[rows].assign(extra=values).reset_index(drop=True))
        for rows, values in ((slice(0, 4), one), (slice(4, 8), two))
    ]
    assert len(merge_stores(parts, make_folder() / "one.zarr")) == 8


def test_a_shard_that_is_missing_in_a_part_is_a_store_error(make_part, make_folder) -> None:
    part = make_part({"rgb": [C] * N})
    (part / "tokens/rgb/enc/c/1/0/0/0").unlink()
    with pytest.raises(StoreError):
        merge_stores([part], make_folder() / "one.zarr")
