"""Everything that a run trains: a model, and its strategy with what it learns beside the model."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mmcache.fuse.network.model import Model
from mmcache.fuse.network.passes import Sample
from mmcache.fuse.strategies.base import Strategy, Term
from mmcache.store.load.loader import Batch

_READS = ("nothing", "targets", "complete")  # in the order of what they need


class Trainee(nn.Module):
    """A model and its strategy as one module.

    Attributes:
        terms: all loss terms of the run; in an epoch, those that count.
    """

    def __init__(self, model: Model, strategy: Strategy) -> None:
        super().__init__()
        self.model, self.strategy = model, strategy
        self.terms = strategy.terms()

    def counting(self, epoch: int) -> list[Term]:
        """The terms that count in an epoch."""
        return [term for term in self.terms if term.counts(epoch)]

    def losses(
        self, batch: Batch, kept: NDArray[np.bool_], epoch: int, autocast: bool = False
    ) -> dict[str, torch.Tensor]:
        """'loss', the weighted sum of the terms, and each of them by name where the run has several.

        Args:
            kept: (B, M) bool, within what is present.
        """
        sample = self.sample(batch, kept, epoch)
        return self.weigh(self.parts(sample, epoch, autocast), {term.name: term.weight for term in self.terms})

    def sample(self, batch: Batch, kept: NDArray[np.bool_], epoch: int) -> Sample:
        """The tensors of a batch, with what the terms of the epoch ask for before the pass."""
        given: dict[str, torch.Tensor] = {}
        for term in self.counting(epoch):
            if term.given is not None:
                given |= term.given(batch, kept)
        return Sample(
            tokens=batch.tokens,
            lengths=batch.lengths,
            present=batch.present,
            kept=torch.from_numpy(kept).to(batch.present.device),
            labels=batch.labels,
            given=given,
        )

    def parts(self, sample: Sample, epoch: int, autocast: bool = False) -> dict[str, torch.Tensor]:
        """Every term by name, none of them weighted. Reads tensors alone, and never waits for a device."""
        terms = self.counting(epoch)
        reads = max((term.reads for term in terms), key=_READS.index)
        step = self.model.training_pass(sample, reads, autocast)
        return {term.name: term.value(step) for term in terms}

    def weigh(self, parts: Mapping[str, torch.Tensor], weights: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """'loss', the weighted sum of the parts, and each by name where a run has several.

        Args:
            weights: of each term by name, numbers or tensors.
        """
        total: torch.Tensor | None = None
        for name, value in parts.items():
            weighted = weights[name] * value
            total = weighted if total is None else total + weighted
        assert total is not None
        return {"loss": total, **(parts if len(self.terms) > 1 else {})}

    def forward(self, fields: dict[str, Any], epoch: int, autocast: bool) -> dict[str, torch.Tensor]:
        """The parts of the loss on a Sample, given as its fields."""
        return self.parts(Sample(**fields), epoch, autocast)
