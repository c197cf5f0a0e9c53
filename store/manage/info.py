"""The contents of a store in figures."""

from pathlib import Path
from typing import Any

import numpy as np

from mmcache.store.feature_store import FeatureStore
from mmcache.store.format.layout import Presence
from mmcache.store.format.location import is_remote
from mmcache.store.ground.failure_groups import group_lines

_SHOWN = (Presence.CACHED, Presence.MISSING, Presence.FAILED, Presence.TO_DO)


def describe(store: FeatureStore) -> dict[str, Any]:
    """Data set, tasks, and for each token array its shape, weights and coverage by split; failures by reason.

    Bytes are those on disk, and None at an address.
    """
    return {
        "dataset": store.meta.dataset,
        "segments": len(store),
        "eval_split": store.eval_split,
        "tasks": {task: len(classes) for task, classes in store.tasks.items()},
        "bytes": _bytes(store.path),
        "arrays": [_describe_array(store, f"{modality}/{encoder}") for modality, encoder in store.arrays],
        "failures": [group.to_json() for group in group_lines(store.failures)],
    }


def _describe_array(store: FeatureStore, name: str) -> dict[str, Any]:
    array, present, errors = store.tokens[name], store.present[name], store.errors[name]
    splits = store.segments["split"]
    coverage = {
        split: {p.name.lower(): int(((present == p) & (splits == split)).sum()) for p in _SHOWN}
        for split in dict.fromkeys(splits)
    }
    _, views, tokens, width = array.shape
    cached = None if errors is None else errors[present == Presence.CACHED]
    rounding = None
    if cached is not None and cached.size:
        rounding = {"mean": float(np.mean(cached)), "worst": float(np.max(cached))}
    sizes = [_bytes(store.path / kind / name) for kind in ("tokens", "scale")]
    return {
        "name": name,
        "views": views,
        "tokens": tokens,
        "width": width,
        "dtype": array.dtype.name,
        "bytes": None if sizes[0] is None else sum(size or 0 for size in sizes),
        "weights": array.fingerprint.weights,
        "k": array.fingerprint.k,
        "rounding_error": rounding,
        "coverage": coverage,
    }


def _bytes(folder: Path) -> int | None:
    if is_remote(folder):
        return None
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
