"""Merge several stores into one: shares of one extraction, or stores with different segments of one data set.

A shard whose tokens all come from one part is copied whole, by reference if the file system allows (a clone or a hard
link); other shards are assembled chunk by chunk, and checksums are compared. Cached teacher logits are not copied: the
next fuse computes them.
"""

import dataclasses
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmcache.store.feature_store import FeatureStore
from mmcache.store.format import layout
from mmcache.store.format.layout import Presence, StoreMeta
from mmcache.store.format.reports import finish_reports
from mmcache.store.format.shard_file import EMPTY, read_index
from mmcache.store.format.source_files import read_sources
from mmcache.store.ground.errors import ConfigError, StoreMismatchError
from mmcache.store.ground.lock import writer_lock
from mmcache.store.read.token_array import TokenArray
from mmcache.store.segments.splits import TRAIN, canonical_split, choose_eval_split, usual_eval_split
from mmcache.store.write.add_tokens import add_tokens
from mmcache.store.write.create import ensure_store
from mmcache.store.write.shard_commit import OldShard, ShardCommit
from mmcache.store.write.token_source import Progress, no_progress
from mmcache.store.write.token_writer import TokenWriter

# If several parts have a segment, the state with the highest rank is taken, of equal ranks that of the first part.
_KNOWN_BEST_FIRST = (Presence.CACHED, Presence.FAILED, Presence.MISSING)
_RANK = np.zeros(len(Presence), np.int64)  # presence -> rank
_RANK[list(_KNOWN_BEST_FIRST)] = range(len(_KNOWN_BEST_FIRST), 0, -1)


def merge_stores(parts: list[Path], root: Path, progress: Progress = no_progress) -> FeatureStore:
    """Write the contents of the stores `parts` to the store at `root`, which is created if needed.

    After a kill at any moment, the same call continues and ends with the same bytes; after a part has grown, it adds
    the new tokens.

    Raises:
        ConfigError: no part, or a part is the result itself.
        StoreMismatchError: the parts contradict each other; all differences at once.
        StoreError: a part cannot be read, or another process writes `root`.
    """
    if not parts:
        raise ConfigError("nothing to merge: name at least one store")
    if root.resolve() in {part.resolve() for part in parts}:
        raise ConfigError(f"{root} is one of the stores to merge; give another --store")
    stores = [FeatureStore.open(part) for part in parts]
    _check_parts(stores)
    segments, meta = _joined(stores)
    with writer_lock(root):
        ensure_store(root, segments, meta)
        for name in dict.fromkeys(f"{m}/{e}" for store in stores for m, e in store.arrays):
            _merge_tokens(stores, root, segments, name, progress)
        finish_reports(root)
    return FeatureStore.open(root)


def _check_parts(stores: list[FeatureStore]) -> None:
    """Raise StoreMismatchError that lists every contradiction between a part and the first part."""
    problems = []
    first = stores[0]
    for store in stores[1:]:
        if first.meta.dataset != store.meta.dataset:
            shown = f"{first.meta.dataset!r} and {store.meta.dataset!r}"
            problems.append(f"{first.path} and {store.path} differ in their dataset: {shown}")
        if first.meta.tasks != store.meta.tasks:
            problems.append(f"{first.path} and {store.path} differ in their tasks")
        if list(store.segments.columns) != list(first.segments.columns):
            problems.append(f"{first.path} and {store.path} differ in the columns of their segments")
            continue
        ours, theirs = (_with_usual_splits(one.segments).set_index("id") for one in (first, store))
        common = ours.index.intersection(theirs.index)
        if not _equal_tables(ours.loc[common], theirs.loc[common]):
            problems.append(f"{first.path} and {store.path} have different rows for the same segments")
    reported = {_stated_split(store): store for store in reversed(stores) if _stated_split(store)}
    if len(reported) > 1:
        said = ", ".join(f"{store.path} on '{split}'" for split, store in reversed(reported.items()))
        problems.append(f"they report results on different splits: {said}")
    for store in stores:
        for modality, encoder in store.arrays:
            problems.extend(_mismatch(stores, store, f"{modality}/{encoder}"))
    if problems:
        raise StoreMismatchError("these stores cannot become one:\n  " + "\n  ".join(problems))


def _equal_tables(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    """Whether all cells are equal; dtypes may differ, because missing values change the dtype of a column."""
    a, b = one.astype(object), other.astype(object)
    return bool(((a == b) | (a.isna() & b.isna())).to_numpy().all())


def _mismatch(stores: list[FeatureStore], store: FeatureStore, name: str) -> list[str]:
    """The differences between the tokens `name` of a store and those of the first store that has them."""
    array = store.tokens[name]
    if not array.is_direct:
        return [f"{array.path} is compressed or foreign; only plain shards can be merged"]
    first = next(other for other in stores if tuple(name.split("/")) in other.arrays).tokens[name]
    problems = []
    if (array.shape[1:], array.dtype) != (first.shape[1:], first.dtype):
        ours, theirs = (f"{other.dtype} {other.shape[1:]}" for other in (array, first))
        problems.append(f"{array.path} holds {ours}, {first.path} {theirs}")
    if _has_lengths(array) != _has_lengths(first):
        problems.append(f"only one of {array.path} and {first.path} has token counts")
    try:
        array.fingerprint.check_same(first.fingerprint, first.path)
    except StoreMismatchError as error:
        problems.append(f"{array.path}: {error}")
    return problems


def _has_lengths(array: TokenArray) -> bool:
    return (array.path.parents[2] / "length" / array.name / "zarr.json").exists()


def _joined(stores: list[FeatureStore]) -> tuple[pd.DataFrame, StoreMeta]:
    """The segments of all parts, in the order of the parts, each once.

    If parts name one split differently, as 'val' and 'validation', the split gets its usual name.
    """
    table = pd.concat([store.segments for store in stores]).drop_duplicates("id", ignore_index=True)
    usual = _with_usual_splits(table)
    if usual["split"].nunique() < table["split"].nunique():
        table = usual
    splits = {str(split): int(n) for split, n in sorted(table["split"].value_counts().items())}
    stated = next(filter(None, map(_stated_split, stores)), "")
    reported = choose_eval_split(stated, splits)
    return table, dataclasses.replace(stores[0].meta, splits=splits, eval_split=reported, coverage={}, sha256={})


def _with_usual_splits(segments: pd.DataFrame) -> pd.DataFrame:
    return segments.assign(split=segments["split"].map(canonical_split))


def _stated_split(store: FeatureStore) -> str:
    """The usual name of the split that a store states for results; '' when it follows from the store's splits."""
    stated = store.meta.eval_split
    follows = stated == usual_eval_split(store.meta.splits) or canonical_split(stated) == TRAIN
    return "" if follows else canonical_split(stated)


@dataclasses.dataclass(frozen=True)
class _Origins:
    """The origin of each row of the result.

    Attributes:
        part: (N,) index of the part, -1 = none.
        row: (N,) its row in that part.
        status: (N,) its Presence in that part.
    """

    part: NDArray[np.int64]
    row: NDArray[np.int64]
    status: NDArray[np.uint8]


def _origins(parts: list[FeatureStore], segments: pd.DataFrame, name: str) -> _Origins:
    n = len(segments)
    part, row = np.full(n, -1), np.zeros(n, np.int64)
    status = np.full(n, Presence.TO_DO, np.uint8)
    places = [pd.Index(store.segments["id"]).get_indexer(segments["id"]) for store in parts]
    for wanted in _KNOWN_BEST_FIRST:
        for number, (store, place) in enumerate(zip(parts, places, strict=True)):
            takes = (part < 0) & (place >= 0) & (store.present[name][place] == wanted)
            part[takes], row[takes], status[takes] = number, place[takes], wanted
    return _Origins(part, row, status)


def _merge_tokens(
    stores: list[FeatureStore], root: Path, segments: pd.DataFrame, name: str, progress: Progress
) -> None:
    modality, encoder = name.split("/")
    parts = [store for store in stores if (modality, encoder) in store.arrays]
    origins = _origins(parts, segments, name)
    model = parts[0].tokens[name]
    _, views, tokens, width = model.shape
    row_bytes = views * layout.token_bytes(tokens, width, model.dtype.name)
    writer = add_tokens(
        root,
        modality,
        model.fingerprint,
        tokens,
        width,
        views=views,
        dtype=model.dtype.name,
        shard_bytes=model.grid.rows_per_shard * row_bytes,  # so that whole shards can be copied
        variable_length=_has_lengths(model),
    )
    part_arrays = [TokenWriter(store.path, modality, encoder) for store in parts]
    reasons = [_reasons(store, name) for store in parts]
    sources = [read_sources(store.path).get((modality, encoder), {}) for store in parts]
    # Rows that the result has already count as the first part.
    to_do = _RANK[origins.status] > _RANK[writer.presence()]
    for shard in range(writer.grid.n_shards):
        rows = writer.grid.rows(shard)
        wanted = np.flatnonzero(to_do[rows.start : rows.stop]) + rows.start
        if len(wanted):
            _merge_shard(writer, shard, wanted, origins, parts, part_arrays, reasons, sources, segments)
        progress(name, rows.stop, len(segments))


def _reasons(store: FeatureStore, name: str) -> dict[str, list[tuple[Presence, str]]]:
    """Segment id -> its lines in failures.jsonl and notes.jsonl."""
    found: dict[str, list[tuple[Presence, str]]] = {}
    for line in (*store.failures, *store.notes):
        if f"{line['modality']}/{line['encoder']}" == name:
            status = Presence(line.get("present", Presence.FAILED))
            found.setdefault(line["id"], []).append((status, line["reason"]))
    return found


def _merge_shard(
    writer: TokenWriter,
    shard: int,
    wanted: NDArray[np.int64],
    origins: _Origins,
    parts: list[FeatureStore],
    part_arrays: list[TokenWriter],
    reasons: list[dict[str, list[tuple[Presence, str]]]],
    sources: list[dict[str, tuple[int, int]]],
    segments: pd.DataFrame,
) -> None:
    with ShardCommit(writer, shard) as commit, closing(_ChunkCopier(writer, part_arrays)) as copier:
        part_array = _part_with_whole_shard(writer, commit.rows, wanted, origins, part_arrays)
        if part_array is not None:
            commit.adopt({kind: part_array.shard_path(kind, shard) for kind in writer.sharded})
        for row in wanted.tolist():
            part, status = int(origins.part[row]), Presence(int(origins.status[row]))
            if status == Presence.CACHED:
                place = int(origins.row[row])
                values = {kind: _side_values(parts[part], kind, writer.name)[place] for kind in writer.side_arrays}
                commit.put_stored(row, {} if commit.is_adopted else copier.chunks(part, place), values)
            elif status == Presence.FAILED:
                commit.failed(row)
            else:
                commit.missing(row)
            segment = segments["id"].iloc[row]
            for noted, reason in reasons[part].get(segment, []):
                commit.report(segment, noted, reason)
            if segment in sources[part]:
                commit.source(segment, status, *sources[part][segment])


def _part_with_whole_shard(
    writer: TokenWriter, rows: range, wanted: NDArray[np.int64], origins: _Origins, part_arrays: list[TokenWriter]
) -> TokenWriter | None:
    """The part whose shard of the same number has exactly the rows of this shard, in the same places; else None."""
    cached = wanted[origins.status[wanted] == Presence.CACHED]
    if len(set(origins.part[cached].tolist())) != 1:
        return None
    part_array = part_arrays[int(origins.part[cached[0]])]
    there = np.arange(rows.start, rows.stop)
    given = np.flatnonzero(part_array.presence()[rows.start : rows.stop] == Presence.CACHED) + rows.start
    is_whole = (
        part_array.grid.rows_per_shard == writer.grid.rows_per_shard
        and np.array_equal(cached, there[origins.status[there] == Presence.CACHED])  # no row was cached before
        and not (writer.presence()[there] == Presence.CACHED).any()
        and np.array_equal(origins.row[cached], cached)
        and np.array_equal(given, cached)
        and all(_has_slots_of(part_array, kind, rows, cached) for kind in writer.sharded)
    )
    return part_array if is_whole else None


def _has_slots_of(part_array: TokenWriter, kind: str, rows: range, cached: NDArray[np.int64]) -> bool:
    """Whether a shard file has chunks of exactly these rows; a killed run may have left others.

    Raises StoreError when the file is cut off or damaged.
    """
    views = part_array.grid.n_views
    index = read_index(
        part_array.shard_path(kind, rows.start // part_array.grid.rows_per_shard), part_array.grid.slots_per_shard
    )
    if index is None:
        return False
    expected = ((cached - rows.start)[:, None] * views + np.arange(views)).reshape(-1)
    return np.array_equal(np.flatnonzero(index[:, 0] != EMPTY), expected)


def _side_values(store: FeatureStore, kind: str, name: str) -> NDArray:
    values = store.lengths[name] if kind == "length" else store.errors[name]
    assert values is not None
    return values


class _ChunkCopier:
    """Reads raw chunks of the parts' shards, keeping the last shard of each part open."""

    def __init__(self, writer: TokenWriter, part_arrays: list[TokenWriter]) -> None:
        self._writer, self._part_arrays = writer, part_arrays
        self._open: dict[tuple[int, str], tuple[int, OldShard]] = {}

    def chunks(self, part: int, row: int) -> dict[str, list[bytes]]:
        """Kind -> the V chunks of a row of a part. Raises StoreError when one fails its checksum."""
        grid = self._part_arrays[part].grid
        shard, place = divmod(row, grid.rows_per_shard)
        found = {}
        for kind in self._writer.sharded:
            old = self._shard(part, kind, shard)
            slots = range(place * grid.n_views, (place + 1) * grid.n_views)
            found[kind] = [old.chunk(slot, self._part_arrays[part].path) for slot in slots]
        return found

    def _shard(self, part: int, kind: str, shard: int) -> OldShard:
        number, old = self._open.get((part, kind), (-1, None))
        if number != shard or old is None:
            if old is not None:
                old.close()
            part_array = self._part_arrays[part]
            old = OldShard(part_array.shard_path(kind, shard), part_array.grid.slots_per_shard)
            self._open[part, kind] = shard, old
        return old

    def close(self) -> None:
        for _, old in self._open.values():
            old.close()
