"""kd: a teacher's answers as soft labels."""

import torch
from torch.nn import functional


def distillation(
    student: dict[str, torch.Tensor],
    teacher: dict[str, torch.Tensor],
    known: torch.Tensor,
    temperature: float = 1.0,
    tasks: str = "sum",
) -> torch.Tensor:
    """T^2 KL(softmax(t / T) || softmax(s / T)), averaged over segments the teacher answered.

    Args:
        student, teacher: task -> (B, C) logits; tasks the teacher lacks are left out.
        known: (B,) bool, false where there is no teacher answer (its logits may then be anything).
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
