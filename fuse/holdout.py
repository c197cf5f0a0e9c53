"""The part of the training split that picks the epoch. The test split never does."""

import numpy as np
from numpy.typing import NDArray

from mmcache.store.feature_store import FeatureStore
from mmcache.store.order import id_keys, keyed_uniform

_STREAM = 1 << 41  # apart from epochs, which count from 0


def split_holdout(
    store: FeatureStore, rows: NDArray[np.int64], share: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut the training rows in two: (to train on, to pick the epoch by). Never the test split.

    Whole videos go to the held-out part, so that no near-copy of its segments is trained on; with a single video,
    segments do.
    """
    segments = store.segments.iloc[rows]
    groups = segments["video"] if segments["video"].nunique() > 1 else segments["id"]
    names = groups.unique()
    ranked = names[np.argsort(keyed_uniform(id_keys(names), seed, _STREAM), kind="stable")]
    taken, held = 0, set()
    for name in ranked[:-1]:  # one group at least is trained on
        if taken >= share * len(rows):
            break
        held.add(name)
        taken += int((groups == name).sum())
    is_held = groups.isin(held).to_numpy()
    return rows[~is_held], rows[is_held]
