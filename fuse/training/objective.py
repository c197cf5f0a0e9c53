"""The loss of one batch: the parts that a run's options ask for, weighted and added up."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from mmcache.fuse import phases
from mmcache.fuse.config import FuseConfig
from mmcache.fuse.network.model import Model, Trace
from mmcache.fuse.parts.losses import cross_entropy, distillation
from mmcache.fuse.parts.losses.align import align
from mmcache.fuse.parts.losses.jepa import Jepa
from mmcache.fuse.parts.losses.mad import margin_aware, prediction_entropy
from mmcache.fuse.parts.losses.mar import WeakCombinations
from mmcache.fuse.parts.losses.prototypes import prototypes
from mmcache.fuse.parts.losses.vicreg import vicreg
from mmcache.store.load.loader import Batch

WEIGHTED = ("reconstruction", "align", "vicreg", "shared", "specific", "mad", "mar", "jepa")


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


@dataclasses.dataclass(frozen=True)
class Sample:
    """What the losses read of one batch: tensors and nothing else, so that those of several runs can be stacked.

    Attributes:
        tokens: modality -> (B, T, D).
        lengths: modality -> (B,) true token counts.
        present: (B, M) bool.
        kept: (B, M) bool, within what is present.
        labels: task -> (B,) int64, -1 where unlabelled.
        answers: task -> (B, C) the teacher's logits for kd; empty where no teacher takes part.
        known: (B,) bool, whether the teacher has an answer.
        relations: for mad: features (B, F) and entropy (B,) of the teacher with full sight, and whether both are known.
    """

    tokens: dict[str, torch.Tensor]
    lengths: dict[str, torch.Tensor]
    present: torch.Tensor
    kept: torch.Tensor
    labels: dict[str, torch.Tensor]
    answers: dict[str, torch.Tensor]
    known: torch.Tensor
    relations: dict[str, torch.Tensor]


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
        self.names, self.tasks = model.spec.names, set(model.spec.tasks)
        self.anchor = self.names.index(config.anchor or ("rgb" if "rgb" in self.names else self.names[0]))
        classes = {task: len(labels) for task, labels in model.spec.tasks.items()}
        self.weak = (
            WeakCombinations(self.names, classes, model.head.features, config.mar_softmax) if config.mar > 0 else None
        )
        self.jepa = Jepa(model, config.width, config.momentum) if config.jepa > 0 else None

    def forward(
        self, model: Model, batch: Batch, kept: NDArray[np.bool_], epoch: int, autocast: bool = False
    ) -> dict[str, torch.Tensor]:
        """The parts of the loss: 'loss', their weighted sum, and each by name where there are several.

        Args:
            kept: (B, M) bool, within what is present.
        """
        return self.weigh(self.parts(model, self.sample(batch, kept, epoch), epoch, autocast), epoch)

    def sample(self, batch: Batch, kept: NDArray[np.bool_], epoch: int) -> Sample:
        """The batch with what the teachers say of it."""
        device = batch.present.device
        answers, known, relations = {}, torch.zeros_like(batch.present[:, 0]), {}
        learns_labels = not phases.is_meta(self.config, epoch) and not phases.only_aligns(self.config, epoch)
        if self.teaching is not None and learns_labels:
            # With full sight a teacher sees all there is, short of what training is made to lack or may not see.
            made_to_lack = bool(self.config.train_missing) or self.config.train_modalities is not None
            everything = batch.present.cpu().numpy() if made_to_lack else None
            if self.config.alpha < 1:
                seen = kept if self.config.teacher_mask == "same" else everything
                looked_up, found = self.teaching.answers.look_up(batch.rows, seen, self.names, batch.views)
                answers = {task: values.to(device) for task, values in looked_up.items() if task in self.tasks}
                known = found.to(device)
            if self.teaching.features is not None and phases.has_margin(self.config, epoch):
                relations = self._relations(self.teaching, batch, everything)
        return Sample(
            tokens=dict(zip(self.names, batch.tokens.values(), strict=True)),
            lengths=dict(zip(self.names, batch.lengths.values(), strict=True)),
            present=batch.present,
            kept=torch.from_numpy(kept).to(device),
            labels=batch.labels,
            answers=answers,
            known=known,
            relations=relations,
        )

    def parts(self, model: Model, sample: Sample, epoch: int, autocast: bool = False) -> dict[str, torch.Tensor]:
        """Every part of the loss by name, none of them weighted. Reads tensors alone, and never waits for a device."""
        config = self.config
        with torch.autocast(sample.present.device.type, torch.bfloat16, enabled=autocast):
            trace = model.trace(
                sample.tokens,
                sample.lengths,
                sample.kept,
                sample.present,
                real=phases.aligns(config, epoch) or config.vicreg > 0,
            )
            clean = None
            if self.jepa is not None:
                clean = self.jepa.look(sample.tokens, sample.lengths, sample.present)
        if phases.is_meta(config, epoch):
            return {"prototypes": self._prototypes(trace, sample)}
        parts = dict(trace.losses)
        if trace.real is not None and phases.aligns(config, epoch):
            parts["align"] = align(trace.real, sample.present, self.anchor, config.align_temperature)
        if phases.only_aligns(config, epoch):
            return {"align": parts["align"]}
        if trace.real is not None and config.vicreg > 0:
            parts["vicreg"] = vicreg(trace.real, sample.present, *config.vicreg_terms)
        if self.jepa is not None and clean is not None:
            parts["jepa"] = self.jepa(trace.fused, clean, sample.present)
        if phases.has_margin(config, epoch):
            if sample.relations:
                parts["mad"] = margin_aware(trace.outputs.penultimate(), **sample.relations, by=config.mad_by)
            if self.weak is not None:
                parts["mar"] = self.weak(trace.outputs.penultimate(), sample.labels, sample.kept)
        parts["ce"] = cross_entropy(
            trace.outputs, sample.labels, config.label_smoothing, model.head.each, self.class_weights
        )
        if sample.answers:
            parts["kd"] = distillation(
                trace.outputs.mean(), sample.answers, sample.known, config.temperature, config.kd_tasks
            )
        return parts

    def weigh(
        self, parts: dict[str, torch.Tensor], epoch: int, weights: Mapping[str, Any] | None = None
    ) -> dict[str, torch.Tensor]:
        """'loss', the weighted sum of the parts, and each that counts by name where a run has several.

        Args:
            weights: alpha and the weight of each part, numbers or tensors; None = those of the options.
        """
        config = self.config
        weights = vars(config) if weights is None else weights
        if phases.is_meta(config, epoch):
            return {"loss": weights["prototypes"] * parts["prototypes"]}
        if phases.only_aligns(config, epoch):
            return {"loss": weights["align"] * parts["align"]}
        labels = {name: parts[name] for name in ("ce", "kd") if name in parts}
        total = labels["ce"]
        if "kd" in labels:
            total = weights["alpha"] * labels["ce"] + (1 - weights["alpha"]) * labels["kd"]
        weighted = {name: parts[name] for name in WEIGHTED if name in parts and getattr(config, name) > 0}
        for name, value in weighted.items():
            total = total + weights[name] * value
        named = labels | weighted
        return {"loss": total, **(named if len(named) > 1 or config.align_share > 0 else {})}

    def stepped(self, model: Model) -> None:
        """The model has taken a step."""
        if self.jepa is not None:
            self.jepa.follow(model)

    def epoch_done(self, epoch: int, held_out: pd.DataFrame) -> None:
        """An epoch is over; `held_out` is what the model predicts on the held-out part of train."""
        if self.weak is not None and not phases.has_margin(self.config, epoch):
            self.weak.gather(held_out)

    def _relations(self, teaching: Teaching, batch: Batch, seen: NDArray[np.bool_] | None) -> dict[str, torch.Tensor]:
        assert teaching.features is not None
        device = batch.present.device
        features = teaching.features[torch.from_numpy(batch.rows)].to(device)
        logits, known = teaching.answers.look_up(batch.rows, seen, self.names, batch.views)
        entropy = prediction_entropy({task: values.to(device) for task, values in logits.items()})
        return {
            "teacher": features,
            "entropy": entropy,
            "known": known.to(device) & features.isfinite().all(dim=1),
        }

    def _prototypes(self, trace: Trace, sample: Sample) -> torch.Tensor:
        task = self.config.few_shot_task or next(iter(sample.labels))
        n_supports = self.config.ways * self.config.shots
        is_support = torch.arange(len(sample.present), device=sample.present.device) < n_supports
        return prototypes(trace.outputs.penultimate(), sample.labels[task], is_support)


class Lesson(nn.Module):
    """A model and its objective as one module: everything that a run trains."""

    def __init__(self, model: Model, objective: Objective) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, fields: dict[str, Any], epoch: int, autocast: bool) -> dict[str, torch.Tensor]:
        """The parts of the loss on a Sample, given as its fields."""
        return self.objective.parts(self.model, Sample(**fields), epoch, autocast)
