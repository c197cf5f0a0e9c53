"""Which segments of a split can be learned from or tested on: those with tokens and a label that train can have."""

import numpy as np
from numpy.typing import NDArray

from mmcache.fuse.data.segment_groups import novel_rows
from mmcache.store.feature_store import FeatureStore
from mmcache.store.ground.errors import ConfigError


def labelled_rows(store: FeatureStore, split: str, modalities: list[str] | None) -> NDArray[np.int64]:
    """The rows of a split that have any of the modalities (None = of the store's) and a label that train could have.

    Segments of novel classes (MMG-Ego4D) are left out: no run learns their labels, and episodes measure them.

    Raises:
        ConfigError: no such split.
    """
    rows = store.rows(split, modalities)
    labelled = np.any([store.labels(task)[rows] >= 0 for task in store.tasks], axis=0)
    return rows[labelled & ~novel_rows(store.segments)[rows]]


def evaluated_rows(store: FeatureStore, split: str, modalities: list[str]) -> NDArray[np.int64]:
    """The labelled rows of a split that have any of the modalities; those of novel classes where there are no others.

    Raises:
        ConfigError: the split is unknown, or no segment of it is labelled and cached.
    """
    known = labelled_rows(store, split, modalities)
    if len(known):
        return known
    rows = store.rows(split, modalities)
    labelled = np.any([store.labels(task)[rows] >= 0 for task in store.tasks], axis=0)
    if not labelled.any():
        raise ConfigError(
            f"split '{split}' of {store.path} has no labelled segment with cached tokens; "
            f"its splits are {', '.join(store.meta.splits)}. Choose one with --eval-split, or extract more."
        )
    return rows[labelled]
