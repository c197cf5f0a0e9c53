"""midl: adapt any trained model while it is tested (MiDl, Ramazanova et al., ICLR 2025).

A complete segment is run in full and once without each of its modalities; p_v are the predictions. One step of SGD
makes them agree (the mutual information H(mean_v p_v) - mean_v H(p_v) falls) without leaving the model before
adaptation (KL(p_0(full) || p(full)) falls). Only the scales and shifts of LayerNorms move. The prediction is that of
before the step. Incomplete segments are predicted by the model as it stands, and move nothing.

Which weights made the printed tables is UNSURE: the script has 3 and 3, its settings file 0.5. The script's learning
rate 2.5e-4 is 6.25e-5 after its scaling. Its logarithms are of p + 1e-5; these are exact. Versions without m
use the model's own fill (ours; the paper has zeros).
"""

import copy
import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import nn

from mmcache.fuse.config import FuseConfig
from mmcache.fuse.model import Model
from mmcache.store.errors import ConfigError

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


def adapt(
    model: Model, batches: Iterable[Seen], config: FuseConfig, before: Iterable[Seen] = ()
) -> list[dict[str, torch.Tensor]]:
    """Predict, adapting on the way. `model` itself stays as it is: a copy adapts.

    Args:
        model: trained.
        batches: in the order in which they come; one step a batch (batches of 1 are the paper's stream). With
            `midl_mode` two_phase they are gone through twice, so they cannot be a generator then.
        config: its midl_ options.
        before: segments without labels to adapt to first, such as those of train (the paper's long-term variant).

    Returns:
        For each batch, task -> (B, C) logits.

    Raises:
        ConfigError: the model has no LayerNorm, or two_phase was given a generator.
    """
    if config.midl_mode == "two_phase" and isinstance(batches, Iterator):
        raise ConfigError("midl_mode two_phase goes through the test segments twice: give a list, not a generator")
    stepper = _Stepper(model, config)
    for batch in before:
        stepper.predict(batch, step=True)
    if config.midl_mode == "stream":
        return [stepper.predict(batch, step=True) for batch in batches]
    complete = [stepper.predict(batch, step=True) for batch in batches]
    # Phase two: what is incomplete is predicted with the weights after all the steps.
    out = []
    for batch, first in zip(batches, complete, strict=True):
        last = stepper.predict(batch, step=False)
        whole = batch.present.bool().all(dim=1, keepdim=True)
        out.append({task: torch.where(whole, first[task], last[task]) for task in last})
    return out


def layer_norms(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that move: scale and shift of every LayerNorm."""
    norms = [module for module in model.modules() if isinstance(module, nn.LayerNorm)]
    return [p for norm in norms for p in norm.parameters()]


def mutual_information(log_p: torch.Tensor) -> torch.Tensor:
    """(B, V, C) log-probabilities -> (B,): H(mean over views) - mean over views of H; 0 where all views agree."""
    mean = log_p.logsumexp(dim=1) - math.log(log_p.shape[1])
    return _entropy(mean) - _entropy(log_p).mean(dim=1)


def divergence(before: torch.Tensor, now: torch.Tensor) -> torch.Tensor:
    """(B, C) log-probabilities -> (B,): KL(before || now)."""
    return (before.exp() * (before - now)).sum(dim=-1)


def _entropy(log_p: torch.Tensor) -> torch.Tensor:
    return -(log_p.exp() * log_p).sum(dim=-1)


class _Stepper:
    """A copy of a model that takes one step a batch, and the model it must not leave."""

    def __init__(self, model: Model, config: FuseConfig) -> None:
        self.config, self.origin = config, model
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        moving = [p.requires_grad_(True) for p in layer_norms(self.model)]
        if not moving:
            raise ConfigError("midl adapts LayerNorms, and this model has none: train one with head_norm")
        self.optimiser = torch.optim.SGD(moving, lr=config.midl_lr, momentum=_MOMENTUM)

    def predict(self, batch: Seen, step: bool) -> dict[str, torch.Tensor]:
        """Task -> (B, C) logits of before the step."""
        with torch.no_grad():
            out = self.model(batch.tokens, batch.present, lengths=batch.lengths)
        complete = batch.present.bool().all(dim=1).nonzero().squeeze(1)
        if step and len(complete) and batch.present.shape[1] > 1:
            self._step(batch, complete)
        return out

    def _step(self, batch: Seen, complete: torch.Tensor) -> None:
        tokens = {name: values[complete] for name, values in batch.tokens.items()}
        lengths = None if batch.lengths is None else {name: values[complete] for name, values in batch.lengths.items()}
        modalities = batch.present.shape[1]
        everything = torch.ones(len(complete), modalities, dtype=torch.bool, device=batch.present.device)
        with torch.no_grad():
            before = self.origin(tokens, everything, lengths=lengths)
        views = []
        for m in range(-1, modalities):  # -1: all there is
            keep = everything.clone()
            if m >= 0:
                keep[:, m] = False
            views.append(self.model(tokens, everything, keep, lengths))
        loss = torch.zeros((), device=everything.device)
        config = self.config
        for task, given in before.items():  # tasks are summed
            log_p = torch.stack([view[task].log_softmax(dim=-1) for view in views], dim=1)
            apart = divergence(given.log_softmax(dim=-1), log_p[:, 0])
            loss = loss + (config.midl_information * mutual_information(log_p) + config.midl_distance * apart).mean()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
