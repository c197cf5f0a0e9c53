"""What a store holds, in figures."""

from collections import Counter
from typing import Any

from mmcache.store.feature_store import FeatureStore
from mmcache.store.layout import Presence


def describe(store: FeatureStore) -> dict[str, Any]:
    """Data set, tasks, and for each token array its shape, weights and coverage by split; failures by reason."""
    splits = store.segments["split"]
    arrays = []
    for modality, encoder in store.arrays:
        name = f"{modality}/{encoder}"
        array, present = store.tokens[name], store.present[name]
        coverage = {
            split: {p.name.lower(): int(((present == p) & (splits == split)).sum()) for p in _SHOWN}
            for split in dict.fromkeys(splits)
        }
        _, views, tokens, width = array.shape
        fingerprint = array.fingerprint
        arrays.append(
            {"name": name, "views": views, "tokens": tokens, "width": width, "dtype": array.dtype.name}
            | {"weights": fingerprint.weights, "k": fingerprint.k, "coverage": coverage}
        )
    return {
        "dataset": store.meta.dataset,
        "segments": len(store),
        "eval_split": store.meta.eval_split,
        "tasks": {task: len(classes) for task, classes in store.tasks.items()},
        "bytes": sum(path.stat().st_size for path in store.path.rglob("*") if path.is_file()),
        "arrays": arrays,
        "failures": dict(Counter(f"{line['modality']}: {line['reason']}" for line in store.failures).most_common()),
    }


_SHOWN = (Presence.CACHED, Presence.MISSING, Presence.FAILED, Presence.TO_DO)
