"""Which segments a run learned from: what weighs or calibrates teachers must be none of them."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcache.fuse.data.rows import Rows, choose_rows
from mmcache.fuse.runs.config import options_of, read_run_config, spec_of
from mmcache.store.feature_store import FeatureStore
from mmcache.store.ground.errors import ConfigError, MmcacheError


def learned_from(store: FeatureStore, rows: Rows) -> dict[str, Any]:
    """How many segments a run learns from, and a digest of their ids: for its config.yaml."""
    ids = store.segments["id"].to_numpy()[rows.learned]
    return {"segments": len(ids), "sha256": _digest(ids)}


def learned_ids(run: Path) -> set[str]:
    """The ids of the segments that a finished run learned from, found anew from its options and its store.

    Raises:
        ConfigError: the store is gone or has changed since, so that they cannot be told.
    """
    saved = read_run_config(run)
    options = options_of(saved)
    sources = spec_of(saved).sources
    try:
        store = FeatureStore.open(saved["store"], protocol=options.data.protocol)
        rows = choose_rows(options, store, sources, saved["eval_split"])
    except (MmcacheError, KeyError) as error:
        raise ConfigError(f"which segments the teacher {run} learned from cannot be told: {error}") from error
    ids = store.segments["id"].to_numpy()[rows.learned]
    if saved.get("learned_from") != {"segments": len(ids), "sha256": _digest(ids)}:
        raise ConfigError(
            f"which segments the teacher {run} learned from cannot be told: {store.path} has changed since, or another "
            "version of mmcache trained it. Train the teacher again"
        )
    return set(ids)


def unlearned(teachers: Sequence[Path], store: FeatureStore, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those of the student's held-out rows that no teacher learned from.

    Raises:
        ConfigError: there are none, or what a teacher learned from cannot be told.
    """
    ids = store.segments["id"].to_numpy()[rows]
    learned = set[str]().union(*(learned_ids(run) for run in teachers))
    left = rows[[name not in learned for name in ids]]
    if not len(left):
        raise ConfigError(
            f"teachers are weighed and calibrated by segments that none of them learned from, and the {len(rows)} that "
            "this run holds out are all known to them: train the teachers with the seed and --validation of this run, "
            "or use --set ensemble=uniform and --set calibrate=false"
        )
    return left


def _digest(ids: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()
