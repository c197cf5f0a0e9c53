"""Check a store against itself: every index, every checksum, presence against chunks, values and lengths."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mmcache.store import layout
from mmcache.store.errors import StoreError
from mmcache.store.feature_store import FeatureStore
from mmcache.store.layout import Presence
from mmcache.store.shard_file import CRC_BYTES, EMPTY, crc32c, read_index
from mmcache.store.token_array import TokenArray


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing wrong with a store."""

    where: str  # modality/encoder, or a file's name
    segment: str | None  # its id, where one segment is concerned
    problem: str

    def __str__(self) -> str:
        return f"{self.where}{f' segment {self.segment}' if self.segment else ''}: {self.problem}"


def verify(path: Path, progress: Callable[[int, int], None] = lambda done, total: None) -> list[Finding]:
    """Read all of the store at `path` and return what is wrong with it; an empty list means it is sound.

    Args:
        progress: called with (shards done, shards in all).

    Raises:
        StoreError: there is no store, or its root or segments cannot be read at all.
    """
    store = FeatureStore.open(path)
    findings = []
    counted = store.segments["split"].value_counts().to_dict()
    if counted != store.meta.splits:
        findings.append(Finding(layout.SEGMENTS, None, f"has splits {counted}, the root says {store.meta.splits}"))
    names = [f"{modality}/{encoder}" for modality, encoder in store.arrays]
    shards: list[tuple[TokenArray, int]] = []
    for name in names:
        try:
            array = store.tokens[name]
            store.present[name], store.lengths[name]
        except StoreError as error:
            findings.append(Finding(name, None, str(error)))
            continue
        if array.shape[0] != len(store):
            findings.append(Finding(name, None, f"has {array.shape[0]} rows, the store {len(store)} segments"))
            continue
        shards.extend((array, shard) for shard in range(array.grid.n_shards))
    for done, (array, shard) in enumerate(shards):
        progress(done, len(shards))
        findings.extend(_verify_shard(store, array, shard))
    progress(len(shards), len(shards))
    findings.extend(_verify_failures(store))
    return findings


def _verify_shard(store: FeatureStore, array: TokenArray, shard: int) -> list[Finding]:
    path, grid = array.shard_path(shard), array.grid
    try:
        index = read_index(path, grid.slots_per_shard)
    except StoreError as error:
        return [Finding(array.name, None, str(error))]
    present = store.present[array.name]
    lengths = store.lengths[array.name]
    findings: list[Finding] = []
    chunk_bytes = layout.token_bytes(array.shape[2], array.shape[3], array.dtype.name)
    file = open(path, "rb") if index is not None else None  # noqa: SIM115
    try:
        for row in grid.rows(shard):
            for view in range(grid.n_views):
                slot = (row % grid.rows_per_shard) * grid.n_views + view
                filled = index is not None and index[slot, 0] != EMPTY
                problem = None
                if filled != (present[row] == Presence.CACHED):
                    said = Presence(present[row]).name.lower() if present[row] in list(Presence) else present[row]
                    problem = f"presence says {said}, but view {view} has {'' if filled else 'no '}tokens"
                elif filled:
                    assert file is not None
                    assert index is not None
                    file.seek(int(index[slot, 0]))
                    problem = _chunk_problem(file.read(int(index[slot, 1])), chunk_bytes, array.dtype)
                if problem is None and filled and lengths is not None and not 0 < lengths[row, view] <= array.shape[2]:
                    problem = f"length {lengths[row, view]} is outside 1..{array.shape[2]}"
                if problem:
                    findings.append(Finding(array.name, store.segments["id"].iloc[row], problem))
    finally:
        if file is not None:
            file.close()
    return findings


def _chunk_problem(raw: bytes, chunk_bytes: int, dtype: np.dtype) -> str | None:
    if len(raw) != chunk_bytes + CRC_BYTES:
        return f"chunk has {len(raw)} bytes, expected {chunk_bytes + CRC_BYTES}"
    if crc32c(memoryview(raw)[:-CRC_BYTES]) != raw[-CRC_BYTES:]:
        return "tokens fail their checksum"
    if not np.isfinite(np.frombuffer(raw, dtype, count=chunk_bytes // dtype.itemsize)).all():
        return "tokens hold NaN or infinity"
    return None


def _verify_failures(store: FeatureStore) -> list[Finding]:
    """failures.jsonl must have one line for every FAILED segment, and no other."""
    said = {(line["modality"], line["encoder"], line["id"]) for line in store.failures}
    ids = store.segments["id"]
    found = {
        (modality, encoder, ids.iloc[row])
        for modality, encoder in store.arrays
        for row in np.flatnonzero(store.present[f"{modality}/{encoder}"] == Presence.FAILED)
    }
    return [
        Finding(layout.FAILURES, segment, f"{modality}/{encoder} {'is not' if lacking else 'is'} listed as failed")
        for lacking, keys in ((True, found - said), (False, said - found))
        for modality, encoder, segment in sorted(keys)
    ]
