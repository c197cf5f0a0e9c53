"""Mask samplers: which of its present modalities a model sees of a segment. Masks are data, handed to models.

A sampler draws, for every segment and epoch, the kept set S; its exact distribution P(S) is given with each sampler for
a segment that has all M modalities, k = |S|. Draws are keyed by (seed, epoch, segment id), so they do not depend on
batches, workers or order; two samplers draw something once a batch, and key that by (seed, epoch, step). For a segment
that lacks modalities, the sampler draws over those it has.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mmcache.fuse.options.fields import Share, option
from mmcache.fuse.parts.part import NoOptions
from mmcache.store.ground.errors import ConfigError
from mmcache.store.load.order import keyed_uniform
from mmcache.store.load.streams import Stream

_STEP_KEY = np.array([0x6D6D6361636865], np.uint64)  # the key of draws that no segment owns


@dataclasses.dataclass(frozen=True)
class Draw:
    """What a sampler draws masks for.

    Attributes:
        present: (n, M).
        keys: (n,) of the segments, see order.id_keys.
        drop: p.
        target: the modality that may be missing, where a sampler has one; None = any.
        step: the number of the batch that these segments are; only the samplers that draw once a batch need it.
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

    def once(self, stream: int) -> NDArray[np.float64]:
        """(1,) one for all segments of a batch. Raises ConfigError where the number of the batch is not given."""
        if self.step is None:
            raise ConfigError("this sampler draws once a batch, and needs its number: choose another --set sampler=")
        return keyed_uniform(_STEP_KEY, self.seed, self.epoch, self.step, stream)


@dataclasses.dataclass(frozen=True)
class DropOptions:
    full_share: Share = option(0.0, "The first epochs, which keep everything (a share of the run).", varies=True)


@dataclasses.dataclass(frozen=True)
class RateOptions(DropOptions):
    drop: Share = option(0.0, "The rate p at which the sampler drops modalities.", varies=True)


@dataclasses.dataclass(frozen=True)
class TargetOptions(RateOptions):
    target: str | None = option(None, "The one modality that may be missing in training.", varies=True)


@dataclasses.dataclass(frozen=True)
class Sampler:
    """How keep masks are drawn.

    Attributes:
        draw: the masks (n, M) of some segments.
        Options: its options.
    """

    draw: Callable[[Draw], NDArray[np.bool_]]
    Options: type = NoOptions

    @property
    def takes_target(self) -> bool:
        return issubclass(self.Options, TargetOptions)


def no_drop(draw: Draw) -> NDArray[np.bool_]:
    """P(full) = 1: every present modality is kept."""
    return draw.present.copy()


def target_only(draw: Draw) -> NDArray[np.bool_]:
    """P(full) = 1 - p, P(full minus the target) = p. Incomplete segments stay as they are (MMT)."""
    assert draw.target is not None, "target_only needs a target modality"
    keep = draw.present.copy()
    keep[(draw.uniform(draw.target) < draw.drop) & draw.present.all(axis=1), draw.target] = False
    return keep


def bernoulli_keep_one(draw: Draw) -> NDArray[np.bool_]:
    """P(S) = (1-p)^k p^(M-k) + [k=1] p^M / M: each dropped with p; if none is left, one at random stays (ModDrop)."""
    keep = draw.present & (draw.each() >= draw.drop)
    emptied = np.logical_and(~keep.any(axis=1), draw.present.any(axis=1))
    return np.where(emptied[:, np.newaxis], _one_of(draw.present, draw.uniform(Stream.MASK_CHOICE)), keep)


def uniform_count(draw: Draw) -> NDArray[np.bool_]:
    """P(S) = 1 / (M C(M,k)): how many are kept is uniform in 1..M, then which ones."""
    return _first(draw.present, draw.each(), _count(draw.uniform(Stream.MASK_COUNT), draw.present))


def uniform_count_a_batch(draw: Draw) -> NDArray[np.bool_]:
    """As uniform_count, k drawn once a batch and the kept ones for each segment (ActionMAE)."""
    share = draw.once(Stream.MASK_COUNT)
    return _first(draw.present, draw.each(), _count(share, draw.present))


def uniform_set_a_batch(draw: Draw) -> NDArray[np.bool_]:
    """As uniform_count, S drawn once a batch (ShaSpec): complete segments of a batch all keep the same."""
    order = np.concatenate([draw.once(m) for m in range(draw.present.shape[1])])
    count = _count(draw.once(Stream.MASK_COUNT), draw.present)
    return _first(draw.present, np.broadcast_to(order, draw.present.shape), count)


def uniform_subset(draw: Draw) -> NDArray[np.bool_]:
    """P(S) = 1 / (2^M - 1) (MMANet; for M = 2, MAP's simulated missingness)."""
    drawn = 1 + (draw.uniform(Stream.MASK_CHOICE) * (2.0 ** draw.present.sum(axis=1) - 1)).astype(np.int64)
    place = np.cumsum(draw.present, axis=1) - 1  # bit j of the number speaks of the j-th present modality
    return draw.present & ((drawn[:, None] >> np.maximum(place, 0)) & 1 == 1)


def complete_else_count(draw: Draw) -> NDArray[np.bool_]:
    """P(full) = 1 - p, P(proper S) = p / ((M-1) C(M,k)) (COMPASS, p = 0.7)."""
    n_present = draw.present.sum(axis=1)
    proper = 1 + np.floor(draw.uniform(Stream.MASK_COUNT) * np.maximum(n_present - 1, 1)).astype(np.int64)
    whole = draw.uniform(Stream.MASK_CHOICE) >= draw.drop
    return _first(draw.present, draw.each(), np.where(whole, n_present, np.minimum(proper, n_present)))


def pattern_table(draw: Draw) -> NDArray[np.bool_]:
    """P(full) = 1 - p; with a target, P(full minus it) = p, else p / M for each. Drawn once, not in every epoch (MAP).

    Incomplete segments stay as they are.
    """
    modalities = draw.present.shape[1]
    fixed = dataclasses.replace(draw, epoch=Stream.MASK_FIXED)
    keep = draw.present.copy()
    lacking = draw.present.all(axis=1) & (fixed.uniform(Stream.MASK_COUNT) < draw.drop)
    chosen = (fixed.uniform(Stream.MASK_CHOICE) * modalities).astype(np.int64)
    if modalities > 1:
        rows = np.flatnonzero(lacking)
        keep[rows, chosen[rows] if draw.target is None else draw.target] = False
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


SAMPLERS: dict[str, Sampler] = {
    "none": Sampler(no_drop),
    "target_only": Sampler(target_only, TargetOptions),
    "bernoulli_keep_one": Sampler(bernoulli_keep_one, RateOptions),
    "uniform_count": Sampler(uniform_count, DropOptions),
    "uniform_count_a_batch": Sampler(uniform_count_a_batch, DropOptions),
    "uniform_set_a_batch": Sampler(uniform_set_a_batch, DropOptions),
    "uniform_subset": Sampler(uniform_subset, DropOptions),
    "complete_else_count": Sampler(complete_else_count, RateOptions),
    "pattern_table": Sampler(pattern_table, TargetOptions),
}


def draw_masks(
    sampler: str,
    present: NDArray[np.bool_],
    keys: NDArray[np.uint64],
    seed: int,
    epoch: int,
    drop: float = 0.0,
    target: int | None = None,
    step: int | None = None,
) -> NDArray[np.bool_]:
    """Draw keep masks by a sampler of SAMPLERS; see Draw.

    Returns:
        (n, M), within `present`; where something is present, something is kept.

    Raises:
        ConfigError: a sampler that draws once a batch is not told which batch this is.
    """
    return SAMPLERS[sampler].draw(Draw(present, keys, seed, epoch, drop, target, step))
