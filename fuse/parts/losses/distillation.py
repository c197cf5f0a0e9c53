"""kd: a teacher's logits as soft labels."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn import functional

from mmcache.fuse.options.fields import Positive, Rate, option


@dataclass(frozen=True)
class DistillationOptions:
    """Distillation, and which teacher is asked."""

    alpha: Rate = option(1.0, "Weight of cross-entropy; 1 - alpha is the weight of distillation.", varies=True)
    temperature: Positive = option(1.0, "Temperature T of distillation.")
    kd_tasks: Literal["sum", "mean"] = option("sum", "Divergences of several tasks: their sum or their mean.")
    teacher_mask: Literal["same", "full"] = option(
        "same", "The teacher sees what the student sees of a segment, or everything.", varies=True
    )
    ensemble: Literal["uniform", "dataset", "sample"] = option(
        "uniform",
        "Weights of several teachers: equal, or by their loss on held-out rows or on the segment.",
        varies=True,
    )
    ensemble_temperature: Positive = option(1.0, "Temperature of these weights.", varies=True)


def distillation(
    student: dict[str, torch.Tensor],
    teacher: dict[str, torch.Tensor],
    known: torch.Tensor,
    temperature: float = 1.0,
    tasks: str = "sum",
) -> torch.Tensor:
    """T^2 KL(softmax(t / T) || softmax(s / T)), averaged over the segments that the teacher has logits for.

    Args:
        student, teacher: task -> (B, C) logits; tasks the teacher lacks are left out.
        known: (B,) bool, false where the teacher has no logits (which may then be anything).
        tasks: their divergences are summed (sum) or averaged (mean).

    KARMMA states no temperature; whether its tasks are summed or averaged is UNSURE. Radevski averages.
    """
    total = known.new_zeros((), dtype=torch.float32)
    for task, target in teacher.items():
        target = torch.where(known[:, None], target.float(), torch.zeros_like(student[task]))
        ours = functional.log_softmax(student[task] / temperature, dim=-1)
        theirs = functional.log_softmax(target / temperature, dim=-1)
        # Written out: torch's kl_div has no batching rule, and packed runs would take it one by one.
        divergence = (theirs.exp() * (theirs - ours)).sum(dim=-1)
        total = total + temperature**2 * (divergence * known).sum() / known.sum().clamp_min(1)
    return total / max(1, len(teacher)) if tasks == "mean" else total
