"""The loss of one batch: the parts that a run's options ask for, weighted and added up."""

import dataclasses
from collections.abc import Mapping
from typing import Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from mmcache.fuse import phases
from mmcache.fuse.config import FuseConfig
from mmcache.fuse.losses import cross_entropy, distillation
from mmcache.fuse.losses.align import align
from mmcache.fuse.losses.jepa import Jepa
from mmcache.fuse.losses.mad import margin_aware, prediction_entropy
from mmcache.fuse.losses.mar import WeakCombinations
from mmcache.fuse.losses.prototypes import prototypes
from mmcache.fuse.losses.vicreg import vicreg
from mmcache.fuse.model import Model, Trace
from mmcache.store.loader import Batch

_WEIGHTED = ("reconstruction", "align", "vicreg", "shared", "specific", "mad", "mar", "jepa")


class Answers(Protocol):
    """A teacher, or several as one."""

    def look_up(
        self,
        rows: NDArray[np.int64],
        kept: NDArray[np.bool_] | None,
        modalities: list[str],
        views: NDArray[np.int64] | None = None,
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]: ...


@dataclasses.dataclass(frozen=True)
class Teaching:
    """What teachers have to say.

    Attributes:
        answers: their logits.
        features: (N, F) penultimate features of the teacher with full sight, NaN where it has none; for mad alone.
    """

    answers: Answers
    features: torch.Tensor | None = None


class Objective(nn.Module):
    """The losses of one run, and what they learn besides the model: it is trained with it and then left behind.

    Args:
        class_weights: task -> (C,) what a segment of each class counts in CE; none = all count alike.
    """

    def __init__(
        self,
        config: FuseConfig,
        model: Model,
        teaching: Teaching | None,
        class_weights: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.config, self.teaching, self.class_weights = config, teaching, class_weights
        self.names = model.spec.names
        self.anchor = self.names.index(config.anchor or ("rgb" if "rgb" in self.names else self.names[0]))
        classes = {task: len(labels) for task, labels in model.spec.tasks.items()}
        self.weak = WeakCombinations(self.names, classes, model.head.features) if config.mar > 0 else None
        self.jepa = Jepa(model, config.width, config.momentum) if config.jepa > 0 else None

    def forward(
        self, model: Model, batch: Batch, kept: NDArray[np.bool_], epoch: int, autocast: bool = False
    ) -> dict[str, torch.Tensor]:
        """The parts of the loss: 'loss', their weighted sum, and each by name where there are several.

        Args:
            kept: (B, M) bool, within what is present.
        """
        config = self.config
        device = batch.present.device
        mask = torch.from_numpy(kept).to(device)
        tokens = dict(zip(self.names, batch.tokens.values(), strict=True))
        lengths = dict(zip(self.names, batch.lengths.values(), strict=True))
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            trace = model.trace(tokens, lengths, mask, batch.present, real=config.align > 0 or config.vicreg > 0)
            clean = None
            if self.jepa is not None:
                clean = self.jepa.look(tokens, lengths, batch.present)
        if phases.is_meta(config, epoch):
            return {"loss": config.prototypes * self._prototypes(trace, batch)}
        parts = dict(trace.losses)
        if trace.real is not None and config.align > 0:
            parts["align"] = align(trace.real, batch.present, self.anchor, config.align_temperature)
        if phases.only_aligns(config, epoch):
            return {"loss": config.align * parts["align"]}
        if trace.real is not None and config.vicreg > 0:
            parts["vicreg"] = vicreg(trace.real, batch.present, *config.vicreg_terms)
        if self.jepa is not None and clean is not None:
            parts["jepa"] = self.jepa(trace.fused, clean, batch.present)
        if phases.has_margin(config, epoch):
            if self.teaching is not None and self.teaching.features is not None:
                parts["mad"] = self._margin(trace, batch)
            if self.weak is not None:
                parts["mar"] = self.weak(trace.outputs.penultimate(), batch.labels, mask)
        return self._total(self._label_parts(model, trace, batch, kept), parts)

    def stepped(self, model: Model) -> None:
        """The model has taken a step."""
        if self.jepa is not None:
            self.jepa.follow(model)

    def epoch_done(self, epoch: int, held_out: pd.DataFrame) -> None:
        """An epoch is over; `held_out` is what the model predicts on the held-out part of train."""
        if self.weak is not None and not phases.has_margin(self.config, epoch):
            self.weak.gather(held_out)

    def _label_parts(
        self, model: Model, trace: Trace, batch: Batch, kept: NDArray[np.bool_]
    ) -> dict[str, torch.Tensor]:
        """ce, and kd where a teacher takes part in it."""
        config = self.config
        parts = {
            "ce": cross_entropy(
                trace.outputs, batch.labels, config.label_smoothing, model.head.each, self.class_weights
            )
        }
        if self.teaching is not None and config.alpha < 1:
            seen = kept if config.teacher_mask == "same" else None
            teacher, known = self.teaching.answers.look_up(batch.rows, seen, self.names, batch.views)
            teacher = {task: values.to(batch.present.device) for task, values in teacher.items()}
            known = known.to(batch.present.device)
            parts["kd"] = distillation(trace.outputs.mean(), teacher, known, config.temperature, config.kd_tasks)
        return parts

    def _total(self, labels: dict[str, torch.Tensor], parts: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        config = self.config
        total = labels["ce"]
        if "kd" in labels:
            total = config.alpha * labels["ce"] + (1 - config.alpha) * labels["kd"]
        weighted = {name: parts[name] for name in _WEIGHTED if name in parts and getattr(config, name) > 0}
        for name, value in weighted.items():
            total = total + getattr(config, name) * value
        named = labels | weighted
        return {"loss": total, **(named if len(named) > 1 else {})}

    def _margin(self, trace: Trace, batch: Batch) -> torch.Tensor:
        assert self.teaching is not None
        assert self.teaching.features is not None
        device = batch.present.device
        features = self.teaching.features[torch.from_numpy(batch.rows)].to(device)
        logits, known = self.teaching.answers.look_up(batch.rows, None, self.names, batch.views)
        known = known.to(device) & features.isfinite().all(dim=1)
        entropy = prediction_entropy({task: values.to(device) for task, values in logits.items()})
        return margin_aware(trace.outputs.penultimate(), features, entropy, known, self.config.mad_by)

    def _prototypes(self, trace: Trace, batch: Batch) -> torch.Tensor:
        task = self.config.few_shot_task or next(iter(batch.labels))
        n_supports = self.config.ways * self.config.shots
        is_support = torch.arange(len(batch.rows), device=batch.present.device) < n_supports
        return prototypes(trace.outputs.penultimate(), batch.labels[task], is_support)
