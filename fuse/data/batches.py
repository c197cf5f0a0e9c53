"""What each epoch of a run is made of: batches of segments, and which of their modalities the model sees."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmcache.fuse import phases
from mmcache.fuse.config import FuseConfig
from mmcache.fuse.data.episodes import draw_episodes, episode_masks
from mmcache.fuse.data.masks import draw_masks
from mmcache.fuse.data.rows import Rows
from mmcache.store.feature_store import FeatureStore
from mmcache.store.load.loader import Batch, Loader


class Batches:
    """The batches of a run: a function of its options and the epoch, whoever asks and how often.

    Args:
        names: the run's modalities.
    """

    def __init__(self, config: FuseConfig, store: FeatureStore, loader: Loader, rows: Rows, names: list[str]) -> None:
        self.config, self.store, self.loader, self.rows = config, store, loader, rows
        self._target = names.index(config.target) if config.target is not None else None

    def count(self, epoch: int) -> int:
        """How many an epoch has."""
        config = self.config
        if phases.is_meta(config, epoch):
            return max(1, len(self.rows.train) // self._episode_size())
        drawn = len(self.rows.align) if phases.only_aligns(config, epoch) else self.drawn()
        return math.ceil(drawn / config.batch_size)

    def drawn(self) -> int:
        """How many segments an epoch draws: those it trains on, or as many as have a label of the balanced task."""
        task = self.config.balance
        if task is None:
            return len(self.rows.train)
        return int((self.store.labels(task)[self.rows.train] >= 0).sum())  # ConfigError where there is no such task

    def tokens(self, epoch: int) -> Iterator[Batch]:
        """As they come from the store; of runs that are alike in `order_key`, the same."""
        config, aligns = self.config, phases.only_aligns(self.config, epoch)
        return self.loader.epoch(
            batch_size=config.batch_size,
            seed=config.seed,
            epoch=epoch,
            rows=self.rows.align if aligns else self.rows.train,
            balance=None if aligns else config.balance,
        )

    @property
    def order_key(self) -> tuple[Any, ...]:
        """What `tokens` depends on."""
        config = self.config
        rows = self.rows.train.tobytes(), self.rows.align.tobytes()
        return config.seed, config.batch_size, config.balance, config.align_share, config.epochs, *rows

    def draw(self, epoch: int, tokens: Iterator[Batch] | None = None) -> Iterator[tuple[Batch, NDArray[np.bool_]]]:
        """The batches of an epoch, and which of their modalities (B, M) the model sees.

        Args:
            tokens: what the method of this name gives, where somebody else has it already.
        """
        config, rows = self.config, self.rows
        if phases.is_meta(config, epoch):
            yield from self._episodes(epoch)
            return
        aligns = phases.only_aligns(config, epoch)
        law = "none" if phases.keeps_everything(config, epoch) else config.law
        for step, batch in enumerate(tokens or self.tokens(epoch)):
            present = rows.present[batch.rows]
            if not aligns:
                present = present & rows.labels_from
            # Draws belong to segments: one batch at a time, they are those of the whole epoch.
            yield (
                self._as_present(batch, present),
                draw_masks(law, present, rows.keys[batch.rows], config.seed, epoch, config.drop, self._target, step),
            )

    def _as_present(self, batch: Batch, present: NDArray[np.bool_]) -> Batch:
        """The batch without what training is made to lack, or may not learn labels from: present (B, M) is the rest."""
        if not self.config.train_missing and self.config.train_modalities is None:
            return batch
        return dataclasses.replace(batch, present=torch.from_numpy(present).to(batch.present.device))

    def _episodes(self, epoch: int) -> Iterator[tuple[Batch, NDArray[np.bool_]]]:
        """As draw: the few-shot episodes of an epoch, about as many segments as it has."""
        config, rows = self.config, self.rows
        labels = self.store.labels(config.few_shot_task or next(iter(self.store.tasks)))[rows.train]
        size, count = self._episode_size(), self.count(epoch)
        episodes = draw_episodes(
            rows.train, labels, config.ways, config.shots, config.queries, count, config.seed, epoch
        )
        supports = config.ways * config.shots
        for i, batch in enumerate(self.loader.in_order(batch_size=size, rows=episodes.ravel())):
            present = rows.present[batch.rows] & rows.labels_from
            yield self._as_present(batch, present), episode_masks(present, supports, config.seed, epoch, i)

    def _episode_size(self) -> int:
        return self.config.ways * (self.config.shots + self.config.queries)
