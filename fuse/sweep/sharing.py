"""Tokens of a sweep's stores in Ray's shared memory: read and k-averaged once, mapped by every worker of a machine."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from mmcache.fuse.data.reported_split import reported_split
from mmcache.fuse.data.validation import splits_read
from mmcache.fuse.sweep.trials import Planner
from mmcache.store.feature_store import FeatureStore
from mmcache.store.load.buffers import BufferPool
from mmcache.store.load.modality_reader import ModalityReader
from mmcache.store.load.shared_memory import read_shared_tokens, shared_bytes

_SPARE = 256 << 20  # for what else passes through Ray's shared memory
_SHARE = 0.5  # of free memory that the tokens may take


@dataclasses.dataclass(frozen=True)
class Portion:
    """Tokens that some trials read: of one store, with one k."""

    store: FeatureStore
    path: Path
    sources: tuple[str, ...]
    rows: Any
    k: int

    @property
    def bytes(self) -> int:
        return shared_bytes(self.store, self.sources, len(self.rows), self.k)


def portions(planner: Planner) -> list[Portion]:
    """What the trials of a plan read for training and for their results, each token once."""
    wanted: dict[tuple[Path, int], dict[str, Any]] = {}
    for trial in planner.samples:
        data, resident = trial.options.data, trial.options.run.resident
        if resident in ("disk", "gpu"):
            continue
        path = trial.options.store
        store = planner.open(path, data.protocol)
        sources = ["/".join(store.resolve(name)) for name in data.modalities or store.modalities]
        part = wanted.setdefault((path, _effective_k(store, sources, data.k)), {"sources": {}, "rows": None})
        part["store"] = store
        part["sources"] |= dict.fromkeys(sources)
        splits = splits_read(store, reported_split(data.eval_split, store), data.protocol)
        split = store.segments["split"].isin(splits).to_numpy()
        part["rows"] = split if part["rows"] is None else part["rows"] | split
    out = []
    for (path, k), part in wanted.items():
        every = tuple(sorted(part["sources"]))
        rows = np.flatnonzero(part["rows"] & part["store"].presence_matrix(every).any(axis=1))
        out.append(Portion(part["store"], path, every, rows, k))
    return out


def _effective_k(store: FeatureStore, sources: list[str], k: int) -> int:
    """The smallest cap that averages as `k` does."""
    return max(ModalityReader(store, source, k, BufferPool()).n_tokens for source in sources)


def object_store_bytes(wanted: list[Portion]) -> int:
    """How much shared memory Ray needs on this machine alone; without the tokens where they are too large for it."""
    size = sum(portion.bytes for portion in wanted)
    return _SPARE + (int(1.1 * size) if _fits_here(size) else 0)


def _fits_here(size: int) -> bool:
    shm = psutil.disk_usage("/dev/shm").free if Path("/dev/shm").exists() else 0
    return 1.1 * size + _SPARE < min(_SHARE * psutil.virtual_memory().available, shm)


def put_tokens(ray: Any, wanted: list[Portion]) -> dict[Path, list[Any]]:
    """Put the tokens where every worker finds them: store -> references; empty where a node has no room for them."""
    size = sum(portion.bytes for portion in wanted)
    nodes = [node["Resources"].get("object_store_memory", 0) for node in ray.nodes() if node["Alive"]]
    if not nodes or 1.05 * size > min(nodes):
        return {}
    out: dict[Path, list[Any]] = {}
    for portion in wanted:
        tokens = read_shared_tokens(portion.store, portion.sources, portion.rows, portion.k)
        out.setdefault(portion.path, []).append(ray.put(tokens))
    return out
