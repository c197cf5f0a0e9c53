"""Keep masks: which of the present modalities a model sees. Masks are data, drawn here and handed to models.

A training law samples, for every segment and epoch, the kept set S; its exact distribution P(S) is given with
each law for a segment that has all M modalities. Draws are keyed by (seed, epoch, segment id), so they do not
depend on batches, workers or order. A segment that lacks modalities is drawn over those it has.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mmcache.store.order import keyed_uniform

_CHOICE_STREAM = 1 << 20  # apart from the streams 0..M-1 of the modalities' own draws


def no_drop(
    present: NDArray[np.bool_],
    keys: NDArray[np.uint64],
    seed: int,
    epoch: int,
    drop: float,
    target: int | None,
) -> NDArray[np.bool_]:
    """P(full) = 1: every present modality is kept."""
    return present.copy()


def target_only(
    present: NDArray[np.bool_],
    keys: NDArray[np.uint64],
    seed: int,
    epoch: int,
    drop: float,
    target: int | None,
) -> NDArray[np.bool_]:
    """P(full) = 1 - p, P(full minus the target) = p. Incomplete segments stay as they are (MMT)."""
    assert target is not None, "the law target_only needs a target modality"
    keep = present.copy()
    dropped = keyed_uniform(keys, seed, epoch, target) < drop
    keep[dropped & present.all(axis=1), target] = False
    return keep


def bernoulli_keep_one(
    present: NDArray[np.bool_],
    keys: NDArray[np.uint64],
    seed: int,
    epoch: int,
    drop: float,
    target: int | None,
) -> NDArray[np.bool_]:
    """P(S) = (1-p)^k p^(M-k) + [k=1] p^M / M, k = |S|: each dropped with p; if none is left, one at random stays."""
    draws = np.stack([keyed_uniform(keys, seed, epoch, m) for m in range(present.shape[1])], axis=1)
    keep = present & (draws >= drop)
    emptied = np.flatnonzero(~keep.any(axis=1) & present.any(axis=1))
    if len(emptied):
        # The chosen one is the j-th present modality, j uniform.
        n_present = present[emptied].sum(axis=1)
        chosen = (keyed_uniform(keys[emptied], seed, epoch, _CHOICE_STREAM) * n_present).astype(np.int64)
        rank = np.cumsum(present[emptied], axis=1) - 1
        keep[emptied] = present[emptied] & (rank == chosen[:, None])
    return keep


Law = Callable[
    [NDArray[np.bool_], NDArray[np.uint64], int, int, float, int | None], NDArray[np.bool_]
]  # (present (n, M), keys (n,), seed, epoch, drop, target) -> keep (n, M)

LAWS: dict[str, Law] = {
    "none": no_drop,
    "target_only": target_only,
    "bernoulli_keep_one": bernoulli_keep_one,
}


def subsets(modalities: int) -> NDArray[np.bool_]:
    """(2^M - 1, M): every nonempty subset, row i being the bits of i + 1 (bit j = modality j)."""
    numbers = np.arange(1, 2**modalities)
    return (numbers[:, None] >> np.arange(modalities)) & 1 == 1


def subset_index(keep: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(n, M) masks -> (n,) their row in `subsets`, -1 for the empty one."""
    return keep.astype(np.int64) @ (1 << np.arange(keep.shape[1])) - 1


def subset_name(mask: NDArray[np.bool_], modalities: list[str]) -> str:
    """The kept modalities, sorted and joined by '+'."""
    return "+".join(sorted(name for name, kept in zip(modalities, mask, strict=True) if kept))
