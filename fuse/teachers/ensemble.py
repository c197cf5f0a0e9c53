"""Several teachers as one: a weighted mean of their logits (Radevski et al., ICCV 2023)."""

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from mmcache.fuse.teachers.cached_logits import CachedLogits


@dataclasses.dataclass(frozen=True)
class Ensemble:
    """t = sum_j w_j z_j over the teachers j that have logits, the weights adding up to 1 over these.

    Attributes:
        members: one a teacher.
        kind: uniform; dataset: w = softmin over j of (mean CE_j / tau), on held-out rows of train; sample: the same
            with the segment's own CE, by its true label (training alone has it).
        temperature: tau.
        labels: task -> (N,) int64, -1 where unlabelled.
        held_out: rows for `dataset`, which no member learned from (see known_segments.py).

    Weights are per task (UNSURE in the paper). The official code adds the dataset's weights onto an initial 1 / J;
    here they are the weights.
    """

    members: list[CachedLogits]
    kind: str
    temperature: float
    labels: dict[str, NDArray[np.int64]]
    held_out: NDArray[np.int64]

    def get_logits(
        self,
        rows: NDArray[np.int64],
        kept: NDArray[np.bool_] | None,
        modalities: list[str],
        views: NDArray[np.int64] | None = None,
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """As CachedLogits.get_logits. A segment has logits if any teacher has, in every task."""
        out: dict[str, torch.Tensor] = {}
        known = torch.ones(len(rows), dtype=torch.bool)
        each = [member.get_logits(rows, kept, modalities, views)[0] for member in self.members]
        for task in sorted({task for found in each for task in found}):
            experts = [j for j, found in enumerate(each) if task in found]
            logits = torch.stack([each[j][task] for j in experts], dim=1)  # (B, J, C)
            has = logits.isfinite().all(dim=2)
            weights = self._weights(task, experts, logits, has, rows)
            clean = torch.where(has[..., None], logits, torch.zeros_like(logits))
            out[task] = torch.einsum("bjc,bj->bc", clean, weights)
            known = known & has.any(dim=1)
        return out, known

    def _weights(
        self, task: str, experts: list[int], logits: torch.Tensor, has: torch.Tensor, rows: NDArray[np.int64]
    ) -> torch.Tensor:
        """(B, J), summing to 1 over the teachers that have logits."""
        losses = torch.zeros(has.shape)
        if self.kind == "sample":
            losses = _losses(logits, torch.from_numpy(self.labels[task][rows]))
        elif self.kind == "dataset":
            losses = self._held_out_losses(task, experts).expand(has.shape)
        scores = torch.where(has, -losses / self.temperature, torch.full_like(losses, -torch.inf))
        return scores.softmax(dim=1).nan_to_num(0.0)

    def _held_out_losses(self, task: str, experts: list[int]) -> torch.Tensor:
        """(J,) mean CE on the held-out rows that a teacher has logits for, with all modalities that it has."""
        out = []
        labels = torch.from_numpy(self.labels[task][self.held_out])
        for j in experts:
            member = self.members[j]
            logits = member.get_logits(self.held_out, None, member.modalities)[0][task]
            able = logits.isfinite().all(dim=1) & (labels >= 0)
            out.append(functional.cross_entropy(logits[able], labels[able]) if able.any() else torch.tensor(torch.inf))
        losses = torch.stack(out)
        # Without any loss all weigh the same; a teacher without a loss counts as the worst.
        return losses.nan_to_num(posinf=float(losses[losses.isfinite()].max()) if losses.isfinite().any() else 0.0)


def _losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """(B, J, C) and (B,) -> (B, J) cross-entropy, 0 where unlabelled or without logits."""
    batch, teachers, classes = logits.shape
    clean = torch.nan_to_num(logits, nan=0.0).reshape(-1, classes)
    return functional.cross_entropy(clean, labels.repeat_interleave(teachers), ignore_index=-1, reduction="none").view(
        batch, teachers
    )
