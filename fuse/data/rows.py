"""Which segments of a store a run learns from, and what of them."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from mmcache.fuse.data.eligible import evaluated_rows, labelled_rows
from mmcache.fuse.data.missing import with_missing
from mmcache.fuse.data.validation import SHARE, split_validation, validation_split
from mmcache.fuse.options.options import Options
from mmcache.store.feature_store import FeatureStore
from mmcache.store.ground.errors import ConfigError
from mmcache.store.load.order import id_keys


@dataclasses.dataclass(frozen=True)
class Rows:
    """The segments of a run, as rows of its store.

    Attributes:
        train: to learn labels from.
        validation: to pick the epoch by; none where the last epoch is kept.
        picked_on: the split these are of.
        align: to learn alignment from, where a run does: unlabelled ones too.
        evaluated: to test on.
        present: (N, M) bool, the modalities of each segment of the store, without those that training is made to lack.
        labels_from: (M,) bool, the modalities that labels are learned from.
        keys: (N,) uint64, what draws of each segment depend on.
    """

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    picked_on: str
    align: NDArray[np.int64]
    evaluated: NDArray[np.int64]
    present: NDArray[np.bool_]
    labels_from: NDArray[np.bool_]
    keys: NDArray[np.uint64]

    @property
    def every(self) -> NDArray[np.int64]:
        """Those that a run reads tokens of, each once."""
        return np.concatenate([self.learned, self.validation, self.evaluated])

    @property
    def learned(self) -> NDArray[np.int64]:
        """Those that a run learns anything from, ascending."""
        return np.union1d(self.train, self.align)


def choose_rows(options: Options, store: FeatureStore, sources: dict[str, str], eval_split: str) -> Rows:
    """The rows that a run's options ask for.

    Args:
        sources: modality -> name of its token array.

    Raises:
        ConfigError: a choice leaves too few segments, or none.
    """
    of_train = store.rows("train", list(sources.values()))
    keys = id_keys(store.segments["id"])
    train, validation, picked_on = _divided(options, store, list(sources.values()), eval_split)
    present = store.presence_matrix(list(sources.values()))
    if options.data.train_missing:
        present[train] &= _left(options, store, sources, keys)[train]
        train = train[present[train].any(axis=1)]
    if options.data.train_on == "complete":
        train = _complete(store, train, present, list(sources))
    labels_from = np.array(
        [options.data.train_modalities is None or name in options.data.train_modalities for name in sources]
    )
    learnable = _learnable(options, store, train, present & labels_from)
    align = _with_unlabelled(options, store, of_train, train, validation) if _learns_unlabelled(options) else learnable
    evaluated = evaluated_rows(store, eval_split, list(sources.values()))
    return Rows(learnable, validation, picked_on, align, evaluated, present, labels_from, keys)


def _divided(
    options: Options, store: FeatureStore, names: list[str], eval_split: str
) -> tuple[NDArray[np.int64], NDArray[np.int64], str]:
    """The labelled rows of train to learn from, the rows that pick the epoch, and the split of the latter."""
    labelled = labelled_rows(store, "train", names)
    if len(labelled) < 2:
        raise ConfigError(
            f"split 'train' of {store.path} has {len(labelled)} labelled segments with tokens; at least 2 are needed"
        )
    chosen = validation_split(store, eval_split, options.data.protocol) if options.data.validation is None else None
    if chosen is not None:
        rows = labelled_rows(store, chosen, names)
        if len(rows):
            return labelled, rows, chosen
    if options.data.validation == 0:
        return labelled, labelled[:0], "train"
    share = SHARE if options.data.validation is None else options.data.validation
    # Of all that the store has, so that runs of other modalities, such as teachers, hold out the same segments.
    held = split_validation(store, labelled_rows(store, "train", None), share, options.run.seed, options.data.group)[1]
    is_held = np.isin(labelled, held)
    if is_held.all() or not is_held.any():
        train, held = split_validation(store, labelled, share, options.run.seed, options.data.group)
        if not len(held):
            raise ConfigError(
                f"all {len(labelled)} training segments have one {options.data.group}, so none can be held out with "
                "its "
                "whole group: leave out --group, or keep the last epoch with --validation 0"
            )
        return train, held, "train"
    return labelled[~is_held], labelled[is_held], "train"


def _left(
    options: Options, store: FeatureStore, sources: dict[str, str], keys: NDArray[np.uint64]
) -> NDArray[np.bool_]:
    """(N, M) what `train_missing` leaves of the split train; everything elsewhere.

    The same segments lack the same, whichever of the store's modalities a run reads: its teachers' too.
    """
    every = {name: sources.get(name, f"{name}/{encoder}") for name, encoder in reversed(store.arrays)}
    names = sorted(every)
    rows = store.rows("train", list(every.values()))
    left = np.ones((len(store), len(names)), bool)
    there = store.presence_matrix([every[name] for name in names])[rows]
    left[rows] = with_missing(there, keys[rows], options.run.seed, options.data.train_missing, names)
    return left[:, [names.index(name) for name in sources]]


def _complete(
    store: FeatureStore, rows: NDArray[np.int64], present: NDArray[np.bool_], names: list[str]
) -> NDArray[np.int64]:
    """The rows that lack none of the modalities that there are in train."""
    here = present[rows]
    complete = rows[here[:, here.any(axis=0)].all(axis=1)]
    if not len(complete):
        raise ConfigError(
            f"no training segment of {store.path} has all of {', '.join(names)}, and this strategy "
            "trains on complete ones: choose fewer --modalities, or --train-on all"
        )
    return complete


def _with_unlabelled(
    options: Options,
    store: FeatureStore,
    of_train: NDArray[np.int64],
    train: NDArray[np.int64],
    validation: NDArray[np.int64],
) -> NDArray[np.int64]:
    """All rows of the split train, without those that pick the epoch and the others of their videos or groups."""
    group = store.segments[options.data.group or "video"].to_numpy()
    held = np.isin(group[of_train], group[validation]) & ~np.isin(group[of_train], group[train])
    return of_train[~held & ~np.isin(of_train, validation)]


def _learnable(
    options: Options, store: FeatureStore, rows: NDArray[np.int64], usable: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """The rows that have any of the modalities that labels are learned from."""
    learnable = rows[usable[rows].any(axis=1)]
    if not len(learnable):
        raise ConfigError(
            f"no training segment of {store.path} has any of train_modalities "
            f"({', '.join(options.data.train_modalities or [])}): choose others"
        )
    return learnable


def _learns_unlabelled(options: Options) -> bool:
    """Whether any epoch learns from unlabelled segments too."""
    phase = options.components.strategy.phase
    return any(phase(options, epoch).unlabelled for epoch in range(options.optimiser.epochs))
