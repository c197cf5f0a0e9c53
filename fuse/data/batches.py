"""What each epoch of a run is made of: batches of segments, and which of their modalities the model sees."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmcache.fuse.data.rows import Rows
from mmcache.fuse.data.samplers import draw_masks
from mmcache.fuse.options.options import Options
from mmcache.fuse.strategies.base import Phase
from mmcache.store.feature_store import FeatureStore
from mmcache.store.load.loader import Batch, Loader


class Batches:
    """The batches of a run: a function of its options and the epoch, the same however often they are drawn.

    Args:
        names: the run's modalities.
    """

    def __init__(self, options: Options, store: FeatureStore, loader: Loader, rows: Rows, names: list[str]) -> None:
        self.options, self.store, self.loader, self.rows = options, store, loader, rows
        self._target = names.index(options.target) if options.target is not None else None

    def phase(self, epoch: int) -> Phase:
        """The kind of epoch, as the strategy defines it."""
        return self.options.components.strategy.phase(self.options, epoch)

    def count(self, epoch: int) -> int:
        """How many an epoch has."""
        phase = self.phase(epoch)
        if phase.episodes is not None:
            return phase.episodes.count(len(self.rows.train))
        drawn = len(self.rows.align) if phase.unlabelled else self.drawn()
        return math.ceil(drawn / self.options.optimiser.batch_size)

    def drawn(self) -> int:
        """How many segments an epoch draws: those it trains on, or as many as have a label of the balanced task."""
        task = self.options.data.balance
        if task is None:
            return len(self.rows.train)
        return int((self.store.labels(task)[self.rows.train] >= 0).sum())  # ConfigError where there is no such task

    def tokens(self, epoch: int) -> Iterator[Batch]:
        """As the loader reads them from the store; runs that are alike in `order_key` read the same."""
        options, unlabelled = self.options, self.phase(epoch).unlabelled
        return self.loader.epoch(
            batch_size=options.optimiser.batch_size,
            seed=options.run.seed,
            epoch=epoch,
            rows=self.rows.align if unlabelled else self.rows.train,
            balance=None if unlabelled else options.data.balance,
        )

    @property
    def order_key(self) -> tuple[Any, ...]:
        """What `tokens` depends on."""
        options = self.options
        phases = tuple(self.phase(epoch).unlabelled for epoch in range(options.optimiser.epochs))
        rows = self.rows.train.tobytes(), self.rows.align.tobytes()
        return options.run.seed, options.optimiser.batch_size, options.data.balance, phases, *rows

    def draw(self, epoch: int, tokens: Iterator[Batch] | None = None) -> Iterator[tuple[Batch, NDArray[np.bool_]]]:
        """The batches of an epoch, and which of their modalities (B, M) the model sees.

        Args:
            tokens: what `tokens` gives, where the caller has it already.
        """
        options, rows, phase = self.options, self.rows, self.phase(epoch)
        if phase.episodes is not None:
            yield from self._episodes(epoch, phase)
            return
        sampler, seed = "none" if phase.keeps_all else options.masks.sampler, options.run.seed
        for step, batch in enumerate(tokens or self.tokens(epoch)):
            present = rows.present[batch.rows]
            if not phase.unlabelled:
                present = present & rows.labels_from
            # Draws belong to segments: one batch at a time, they are those of the whole epoch.
            yield (
                self._as_present(batch, present),
                draw_masks(sampler, present, rows.keys[batch.rows], seed, epoch, options.drop, self._target, step),
            )

    def _as_present(self, batch: Batch, present: NDArray[np.bool_]) -> Batch:
        """The batch without what training is made to lack, or may not learn labels from: present (B, M) is the rest."""
        if not self.options.data.train_missing and self.options.data.train_modalities is None:
            return batch
        return dataclasses.replace(batch, present=torch.from_numpy(present).to(batch.present.device))

    def _episodes(self, epoch: int, phase: Phase) -> Iterator[tuple[Batch, NDArray[np.bool_]]]:
        """As draw: the few-shot episodes of an epoch, about as many segments as it has."""
        episodes, rows, seed = phase.episodes, self.rows, self.options.run.seed
        assert episodes is not None
        labels = self.store.labels(episodes.task or next(iter(self.store.tasks)))[rows.train]
        drawn = episodes.draw(rows.train, labels, seed, epoch)
        for i, batch in enumerate(self.loader.in_order(batch_size=episodes.size, rows=drawn.ravel())):
            present = rows.present[batch.rows] & rows.labels_from
            yield self._as_present(batch, present), episodes.masks(present, seed, epoch, i)
