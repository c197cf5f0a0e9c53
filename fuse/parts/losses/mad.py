"""mad: a student's relations between the segments of a batch are to be its teacher's (MMANet)."""

import torch
from torch.nn import functional


def margin_aware(
    student: torch.Tensor, teacher: torch.Tensor, entropy: torch.Tensor, known: torch.Tensor, by: str = "rows"
) -> torch.Tensor:
    """Squared differences of G = row-normalised F F^T, weighted by the teacher's uncertainty of each segment.

    Args:
        student, teacher: (B, F) and (B, F') penultimate features.
        entropy: (B,) of the teacher's prediction; the weight of segment i is its share of the batch's sum.
        known: (B,) bool, segments the teacher has seen.
        by: rows, or columns as the official code has it: the weight of entry (i, j) is that of i, or of j.
    """
    zero = student.new_zeros((), dtype=torch.float32)
    apart = (_relations(student, known) - _relations(teacher, known)).square()
    weight = torch.where(known, entropy, zero)
    weight = weight / weight.sum().clamp_min(1e-12)
    total = (apart * (weight[:, None] if by == "rows" else weight[None])).sum()
    return torch.where(known.sum() > 1, total, zero)


def prediction_entropy(logits: dict[str, torch.Tensor]) -> torch.Tensor:
    """(B,) entropy of the predictions, summed over tasks."""
    each = [torch.special.entr(values.float().softmax(dim=-1)).sum(dim=-1) for values in logits.values()]
    return torch.stack(each).sum(dim=0)


def _relations(features: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """(B, B), zero in the rows and columns of what is not known."""
    features = torch.where(known[:, None], features.float(), features.new_zeros((), dtype=torch.float32))
    return functional.normalize(features @ features.T, dim=1)
