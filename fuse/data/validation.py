"""The segments that pick the epoch: those of a validation split, or a part of train. The test split never does."""

import numpy as np
from numpy.typing import NDArray

from mmcache.store.feature_store import FeatureStore
from mmcache.store.load.order import id_keys, keyed_uniform
from mmcache.store.load.streams import Stream
from mmcache.store.segments.folds import group_column
from mmcache.store.segments.splits import VALIDATION, canonical_split

SHARE = 0.1  # of train, where there is no validation split
_OF_PROTOCOL = {"ek90": "holdout"}  # EK* has another name for it, see extract/datasets/epic/epic_splits.py


def validation_split(store: FeatureStore, eval_split: str, protocol: str | None) -> str | None:
    """The split that is there to pick epochs by, or None where there is none, or where results are reported on it.

    Args:
        protocol: that the store was opened with.
    """
    names = [name for name in store.meta.splits if name != eval_split]
    if _OF_PROTOCOL.get(protocol or "") in names:
        return _OF_PROTOCOL[protocol or ""]
    return next((name for name in names if canonical_split(name) == VALIDATION), None)


def splits_read(store: FeatureStore, eval_split: str, protocol: str | None) -> list[str]:
    """The splits whose tokens a run may read: to learn from, to pick the epoch by, and to test on."""
    chosen = validation_split(store, eval_split, protocol)
    return list(dict.fromkeys(["train", *([chosen] if chosen is not None else []), eval_split]))


def split_validation(
    store: FeatureStore, rows: NDArray[np.int64], share: float, seed: int, group: str | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut the training rows in two: (to train on, to pick the epoch by).

    Whole groups go to the held-out part, so that no near-copy of its segments is trained on. A group is taken by a
    hash of its name and of the seed, so that the same ones are held out whatever else is among the rows.

    Args:
        group: a column of the segments, whose values are the groups; None = video, or the segment itself where all
            are of one video.

    Raises:
        ConfigError: no such column, or it is empty for some segments.
    """
    segments = store.segments.iloc[rows]
    if group is not None:
        groups = group_column(segments, group)
    else:
        groups = segments["video"] if segments["video"].nunique() > 1 else segments["id"]
    names = groups.unique()
    ranked = names[np.argsort(keyed_uniform(id_keys(names), seed, Stream.VALIDATION), kind="stable")]
    taken, held = 0, set()
    for name in ranked[:-1]:  # one group at least is trained on
        if taken >= share * len(rows):
            break
        held.add(name)
        taken += int((groups == name).sum())
    is_held = groups.isin(held).to_numpy()
    return rows[~is_held], rows[is_held]
