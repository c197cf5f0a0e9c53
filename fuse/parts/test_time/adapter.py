"""Adapting a trained model on the very segments that it predicts: what every test-time step shares.

A step moves the scales and shifts of LayerNorms and nothing else, by SGD with momentum. A prediction is that of
before the step. Which loss is minimised is the only thing that tells the steps apart: see TEST_TIME.
"""

import copy
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from mmcache.fuse.parts.test_time.options import AdaptOptions
from mmcache.store.ground.errors import ConfigError

if TYPE_CHECKING:
    from mmcache.fuse.network.model import Model

_MOMENTUM = 0.9


@dataclasses.dataclass(frozen=True)
class Seen:
    """A batch of test segments as sensors deliver them.

    Attributes:
        tokens: modality -> (B, T, D).
        present: (B, M) bool, what can be seen, at least one modality a segment.
        lengths: modality -> (B,) true token counts; None = all.
    """

    tokens: Mapping[str, torch.Tensor]
    present: torch.Tensor
    lengths: Mapping[str, torch.Tensor] | None = None

    def only(self, rows: torch.Tensor) -> "Seen":
        """Some of its segments."""
        lengths = None if self.lengths is None else {name: values[rows] for name, values in self.lengths.items()}
        return Seen({name: values[rows] for name, values in self.tokens.items()}, self.present[rows], lengths)


# (the adapting model, the model before adaptation, segments, options) -> what to minimise; None = nothing to learn here
StepLoss = Callable[["Model", "Model", Seen, Any], torch.Tensor | None]


class Adapter:
    """A copy of a model that adapts; the model itself stays as it is.

    Args:
        model: trained.
        loss: of TEST_TIME.
        config: the options of the step.

    Raises:
        ConfigError: the model has no LayerNorm.
    """

    def __init__(self, model: "Model", loss: StepLoss, config: AdaptOptions) -> None:
        self.config, self.loss, self.origin = config, loss, model
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        moving = [p.requires_grad_(True) for p in layer_norms(self.model)]
        if not moving:
            raise ConfigError("adaptation at test moves LayerNorms, and this model has none: train one with head_norm")
        self.optimiser = torch.optim.SGD(moving, lr=config.adapt_lr, momentum=_MOMENTUM)

    def copy(self) -> "Adapter":
        """One that has adapted as far as this one, and goes its own way from here."""
        made = Adapter(self.model, self.loss, self.config)
        made.origin = self.origin
        made.optimiser.load_state_dict(copy.deepcopy(self.optimiser.state_dict()))
        return made

    def adapt(self, batches: Iterable[Seen]) -> None:
        """One step a batch, such as on segments of train before the test."""
        for batch in batches:
            self._step(batch)

    def predict(self, batches: Iterable[Seen]) -> list[dict[str, torch.Tensor]]:
        """For each batch, task -> (B, C) logits.

        Args:
            batches: in the order in which they come; one step a batch (batches of 1 are MiDl's stream). With
                `adapt_mode` two_phase they are gone through twice, so they cannot be a generator then.

        Raises:
            ConfigError: two_phase was given a generator.
        """
        two_phase = self.config.adapt_mode == "two_phase"
        if two_phase and isinstance(batches, Iterator):
            raise ConfigError("adapt_mode two_phase goes through the test segments twice: give a list, not a generator")
        first = []
        for batch in batches:
            first.append(self._logits(batch))
            self._step(batch)
        if not two_phase:
            return first
        # Phase two: what is incomplete is predicted with the weights after all the steps.
        out = []
        for batch, early in zip(batches, first, strict=True):
            late = self._logits(batch)
            whole = batch.present.bool().all(dim=1, keepdim=True)
            out.append({task: torch.where(whole, early[task], late[task]) for task in late})
        return out

    @torch.no_grad()
    def _logits(self, batch: Seen) -> dict[str, torch.Tensor]:
        return self.model(batch.tokens, batch.present, lengths=batch.lengths)

    def _step(self, batch: Seen) -> None:
        loss = self.loss(self.model, self.origin, batch, self.config)
        if loss is not None:
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            self.optimiser.step()


def layer_norms(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that move: scale and shift of every LayerNorm."""
    norms = [module for module in model.modules() if isinstance(module, nn.LayerNorm)]
    return [p for norm in norms for p in norm.parameters()]


def entropy(log_p: torch.Tensor, eps: float = 0.0) -> torch.Tensor:
    """(..., C) log-probabilities -> (...), in nats."""
    return -(log_p.exp() * raised(log_p, eps)).sum(dim=-1)


def raised(log_p: torch.Tensor, eps: float) -> torch.Tensor:
    """log(p + eps)"""
    return (log_p.exp() + eps).log() if eps > 0 else log_p
