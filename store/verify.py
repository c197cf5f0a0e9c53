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
from mmcache.store.writer import read_reports, report_parts

_PRESENCE_VALUES = [int(value) for value in Presence]


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

    What a killed run leaves half done is no fault: the next run does it again.

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
    findings.extend(_unlisted(store))
    arrays: list[TokenArray] = []
    for modality, encoder in store.arrays:
        name = f"{modality}/{encoder}"
        try:
            array = store.tokens[name]
            store.present[name], store.lengths[name]
        except StoreError as error:
            findings.append(Finding(name, None, str(error)))
            continue
        if array.shape[0] != len(store):
            findings.append(Finding(name, None, f"has {array.shape[0]} rows, the store {len(store)} segments"))
            continue
        arrays.append(array)
    shards = [(array, shard) for array in arrays for shard in range(array.grid.n_shards)]
    for done, (array, shard) in enumerate(shards):
        progress(done, len(shards))
        findings.extend(_verify_shard(store, array, shard))
    progress(len(shards), len(shards))
    return [*findings, *_verify_failures(store, arrays)]


def _unlisted(store: FeatureStore) -> list[Finding]:
    """Arrays whose chunks are there, but which no reader sees, because their metadata or their entry is gone."""
    listed = {f"{modality}/{encoder}" for modality, encoder in store.arrays}
    chunks = (
        file for kind in ("tokens", "present") for file in (store.path / kind).glob("*/*/c/**/*") if file.is_file()
    )
    found = {"/".join(file.relative_to(store.path).parts[1:3]) for file in chunks}
    problem = "has data on disk, but its zarr.json or its entry in the modality's list of encoders is missing"
    return [Finding(name, None, problem) for name in sorted(found - listed)]


def _verify_shard(store: FeatureStore, array: TokenArray, shard: int) -> list[Finding]:
    path, grid = array.shard_path(shard), array.grid
    try:
        index = read_index(path, grid.slots_per_shard) if array.is_direct else None
    except StoreError as error:
        return [Finding(array.name, None, str(error))]
    file = open(path, "rb") if index is not None else None  # noqa: SIM115
    findings: list[Finding] = []
    try:
        for row in grid.rows(shard):
            for view in range(grid.n_views):
                if array.is_direct:
                    slot = (row % grid.rows_per_shard) * grid.n_views + view
                    raw = None
                    if file is not None and index is not None and index[slot, 0] != EMPTY:
                        file.seek(int(index[slot, 0]))
                        raw = file.read(int(index[slot, 1]))
                    problem = _chunk_problem(store, array, row, view, raw)
                else:
                    problem = _foreign_problem(array, row, view)
                if problem:
                    findings.append(Finding(array.name, store.segments["id"].iloc[row], problem))
    finally:
        if file is not None:
            file.close()
    return findings


def _chunk_problem(store: FeatureStore, array: TokenArray, row: int, view: int, raw: bytes | None) -> str | None:
    """What is wrong with one view of one segment, whose chunk and checksum are `raw` (None = there is none)."""
    status = int(store.present[array.name][row])
    if status not in _PRESENCE_VALUES:
        return f"presence says {status}, but view {view} has {'no ' if raw is None else ''}tokens"
    if (raw is not None) != (status == Presence.CACHED):
        if status == Presence.TO_DO:
            return None  # a run was killed after the shard and before its presence; it will be done again
        return (
            f"presence says {Presence(status).name.lower()}, but view {view} has {'no ' if raw is None else ''}tokens"
        )
    if raw is None:
        return None
    chunk_bytes = layout.token_bytes(array.shape[2], array.shape[3], array.dtype.name)
    if len(raw) != chunk_bytes + CRC_BYTES:
        return f"chunk has {len(raw)} bytes, expected {chunk_bytes + CRC_BYTES}"
    if crc32c(memoryview(raw)[:-CRC_BYTES]) != raw[-CRC_BYTES:]:
        return "tokens fail their checksum"
    if not np.isfinite(np.frombuffer(raw, array.dtype, count=chunk_bytes // array.dtype.itemsize)).all():
        return "tokens hold NaN or infinity"
    lengths = store.lengths[array.name]
    if lengths is not None and not 0 < lengths[row, view] <= array.shape[2]:
        return f"length {lengths[row, view]} is outside 1..{array.shape[2]}"
    return None


def _foreign_problem(array: TokenArray, row: int, view: int) -> str | None:
    """The same for an array of another layout, which zarr reads; it does not tell an absent chunk from zeros."""
    try:
        tokens = array.read(np.array([row]), view)
    except StoreError as error:
        return str(error)
    return None if np.isfinite(tokens).all() else "tokens hold NaN or infinity"


def _verify_failures(store: FeatureStore, arrays: list[TokenArray]) -> list[Finding]:
    """failures.jsonl must have one line for every FAILED segment, and no other, save what a run has under way."""
    try:
        said = {(line["modality"], line["encoder"], line["id"]) for line in store.failures}
        parts = [line for part in report_parts(store.path, layout.FAILURES) for line in read_reports(part)]
    except StoreError as error:
        return [Finding(layout.FAILURES, None, str(error))]
    under_way = {(line["modality"], line["encoder"], line["id"]) for line in parts}
    ids = store.segments["id"]
    found = {
        (array.modality, array.encoder, ids.iloc[row])
        for array in arrays
        for row in np.flatnonzero(store.present[array.name] == Presence.FAILED)
    }
    # While reports wait to be finished, the file may still list what has since been done otherwise.
    outdated = set() if (store.path / layout.WORK).exists() else said - found
    return [
        Finding(layout.FAILURES, segment, f"{modality}/{encoder} {'is not' if lacking else 'is'} listed as failed")
        for lacking, keys in ((True, found - said - under_way), (False, outdated))
        for modality, encoder, segment in sorted(keys)
    ]
