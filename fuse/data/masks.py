"""Keep masks: which of the present modalities a model sees. Masks are data, drawn here and handed to models.

A training law samples, for every segment and epoch, the kept set S; its exact distribution P(S) is given with
each law for a segment that has all M modalities, k = |S|. Draws are keyed by (seed, epoch, segment id), so they do not
depend on batches, workers or order; two laws draw something once a batch, and key that by (seed, epoch, step).
A segment that lacks modalities is drawn over those it has.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mmcache.store.ground.errors import ConfigError
from mmcache.store.load.order import keyed_uniform

# Streams of draws; those below are each modality's own, 0..M-1.
_CHOICE_STREAM = 1 << 20
_COUNT_STREAM = _CHOICE_STREAM + 1
_FIXED_STREAM = _CHOICE_STREAM + 2  # in the place of an epoch: the same draw in each of them
_WINDOW_STREAM = _CHOICE_STREAM + 3
_STEP_KEY = np.array([0x6D6D6361636865], np.uint64)  # the key of draws that no segment owns


@dataclasses.dataclass(frozen=True)
class Draw:
    """What a law draws masks for.

    Attributes:
        present: (n, M).
        keys: (n,) of the segments, see order.id_keys.
        drop: p.
        target: the modality that may be missing, where a law has one; None = any.
        step: the number of the batch that these segments are; only the laws that draw once a batch need it.
    """

    present: NDArray[np.bool_]
    keys: NDArray[np.uint64]
    seed: int
    epoch: int
    drop: float
    target: int | None
    step: int | None

    def uniform(self, stream: int) -> NDArray[np.float64]:
        """(n,) one number in [0, 1) for each segment."""
        return keyed_uniform(self.keys, self.seed, self.epoch, stream)

    def each(self) -> NDArray[np.float64]:
        """(n, M) one for each segment and modality."""
        return np.stack([self.uniform(m) for m in range(self.present.shape[1])], axis=1)

    def once(self, law: str, stream: int) -> NDArray[np.float64]:
        """(1,) one that the segments of a batch share. Raises ConfigError where nobody says which batch it is."""
        if self.step is None:
            raise ConfigError(f"the law {law} draws once a batch, and is to be told which: choose another --set law=")
        return keyed_uniform(_STEP_KEY, self.seed, self.epoch, self.step, stream)


Law = Callable[[Draw], NDArray[np.bool_]]


def no_drop(draw: Draw) -> NDArray[np.bool_]:
    """P(full) = 1: every present modality is kept."""
    return draw.present.copy()


def target_only(draw: Draw) -> NDArray[np.bool_]:
    """P(full) = 1 - p, P(full minus the target) = p. Incomplete segments stay as they are (MMT)."""
    assert draw.target is not None, "the law target_only needs a target modality"
    keep = draw.present.copy()
    keep[(draw.uniform(draw.target) < draw.drop) & draw.present.all(axis=1), draw.target] = False
    return keep


def bernoulli_keep_one(draw: Draw) -> NDArray[np.bool_]:
    """P(S) = (1-p)^k p^(M-k) + [k=1] p^M / M: each dropped with p; if none is left, one at random stays (ModDrop)."""
    keep = draw.present & (draw.each() >= draw.drop)
    emptied = np.logical_and(~keep.any(axis=1), draw.present.any(axis=1))
    return np.where(emptied[:, np.newaxis], _one_of(draw.present, draw.uniform(_CHOICE_STREAM)), keep)


def uniform_count(draw: Draw) -> NDArray[np.bool_]:
    """P(S) = 1 / (M C(M,k)): how many are kept is uniform in 1..M, then which ones."""
    return _first(draw.present, draw.each(), _count(draw.uniform(_COUNT_STREAM), draw.present))


def uniform_count_a_batch(draw: Draw) -> NDArray[np.bool_]:
    """As uniform_count, k drawn once a batch and the kept ones for each segment (ActionMAE)."""
    share = draw.once("uniform_count_a_batch", _COUNT_STREAM)
    return _first(draw.present, draw.each(), _count(share, draw.present))


def uniform_set_a_batch(draw: Draw) -> NDArray[np.bool_]:
    """As uniform_count, S drawn once a batch (ShaSpec): complete segments of a batch all keep the same."""
    law, modalities = "uniform_set_a_batch", range(draw.present.shape[1])
    order = np.concatenate([draw.once(law, m) for m in modalities])
    count = _count(draw.once(law, _COUNT_STREAM), draw.present)
    return _first(draw.present, np.broadcast_to(order, draw.present.shape), count)


def uniform_subset(draw: Draw) -> NDArray[np.bool_]:
    """P(S) = 1 / (2^M - 1) (MMANet; for M = 2, MAP's simulated missingness)."""
    drawn = 1 + (draw.uniform(_CHOICE_STREAM) * (2.0 ** draw.present.sum(axis=1) - 1)).astype(np.int64)
    place = np.cumsum(draw.present, axis=1) - 1  # bit j of the number speaks of the j-th present modality
    return draw.present & ((drawn[:, None] >> np.maximum(place, 0)) & 1 == 1)


def complete_else_count(draw: Draw) -> NDArray[np.bool_]:
    """P(full) = 1 - p, P(proper S) = p / ((M-1) C(M,k)) (COMPASS, p = 0.7)."""
    n_present = draw.present.sum(axis=1)
    proper = 1 + np.floor(draw.uniform(_COUNT_STREAM) * np.maximum(n_present - 1, 1)).astype(np.int64)
    whole = draw.uniform(_CHOICE_STREAM) >= draw.drop
    return _first(draw.present, draw.each(), np.where(whole, n_present, np.minimum(proper, n_present)))


def pattern_table(draw: Draw) -> NDArray[np.bool_]:
    """P(full) = 1 - p; with a target, P(full minus it) = p, else p / M for each. Drawn once, not in every epoch (MAP).

    Incomplete segments stay as they are. For a table with exact counts that can be saved, see missingness.py.
    """
    modalities = draw.present.shape[1]
    fixed = dataclasses.replace(draw, epoch=_FIXED_STREAM)
    keep = draw.present.copy()
    lacking = draw.present.all(axis=1) & (fixed.uniform(_COUNT_STREAM) < draw.drop)
    chosen = (fixed.uniform(_CHOICE_STREAM) * modalities).astype(np.int64)
    if modalities > 1:
        rows = np.flatnonzero(lacking)
        keep[rows, chosen[rows] if draw.target is None else draw.target] = False
    return keep


def windows(
    present: NDArray[np.bool_], keys: NDArray[np.uint64], seed: int, epoch: int, drop: float, count: int
) -> NDArray[np.bool_]:
    """(n, W, M): for each of `count` windows of a segment, full with 1 - p, each single missing with p / M (MacJEPA).

    Not in LAWS: a model's keep mask is (B, M). A window keeps at least one of the modalities that are present.
    """
    keep = np.repeat(present[:, None, :], count, axis=1)
    several = present.sum(axis=1) > 1
    for w in range(count):
        lacking = several & (keyed_uniform(keys, seed, epoch, _WINDOW_STREAM, w, 0) < drop)
        chosen = _one_of(present, keyed_uniform(keys, seed, epoch, _WINDOW_STREAM, w, 1))
        keep[:, w] &= ~(chosen & lacking[:, None])
    return keep


def _count(share: NDArray[np.float64], present: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(n,) uniform in 1..(modalities present), from uniform shares in [0, 1)."""
    return 1 + np.floor(share * present.sum(axis=1)).astype(np.int64)


def _first(present: NDArray[np.bool_], draws: NDArray[np.float64], count: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The `count` present modalities with the smallest draws."""
    rank = np.argsort(np.argsort(np.where(present, draws, np.inf), axis=1, kind="stable"), axis=1)
    return present & (rank < count[:, None])


def _one_of(present: NDArray[np.bool_], share: NDArray[np.float64]) -> NDArray[np.bool_]:
    """One present modality a row, each as likely, from uniform shares in [0, 1)."""
    chosen = (share * present.sum(axis=1)).astype(np.int64)
    return present & (np.cumsum(present, axis=1) - 1 == chosen[:, None])


LAWS: dict[str, Law] = {
    "none": no_drop,
    "target_only": target_only,
    "bernoulli_keep_one": bernoulli_keep_one,
    "uniform_count": uniform_count,
    "uniform_count_a_batch": uniform_count_a_batch,
    "uniform_set_a_batch": uniform_set_a_batch,
    "uniform_subset": uniform_subset,
    "complete_else_count": complete_else_count,
    "pattern_table": pattern_table,
}


def draw_masks(
    law: str,
    present: NDArray[np.bool_],
    keys: NDArray[np.uint64],
    seed: int,
    epoch: int,
    drop: float,
    target: int | None = None,
    step: int | None = None,
) -> NDArray[np.bool_]:
    """Draw keep masks by a law of LAWS; see Draw.

    Returns:
        (n, M), within `present`; where something is present, something is kept.

    Raises:
        ConfigError: a law that draws once a batch is not told which batch this is.
    """
    return LAWS[law](Draw(present, keys, seed, epoch, drop, target, step))


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
