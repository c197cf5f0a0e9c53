"""ce: cross-entropy over Outputs. Unlabelled segments (-1) count for nothing; tasks are summed."""

import torch
from torch.nn import functional

from mmcache.fuse.heads import Outputs


def cross_entropy(outputs: Outputs, labels: dict[str, torch.Tensor], smoothing: float, each: bool) -> torch.Tensor:
    """Cross-entropy, summed over tasks, averaged over labelled segments.

    Args:
        labels: task -> (B,) int64, -1 where unlabelled.
        smoothing: label smoothing.
        each: sum the losses of every valid vector (MMT), instead of taking that of the averaged logits.
    """
    averaged = {} if each else outputs.mean()
    total = outputs.valid.new_zeros((), dtype=torch.float32)
    for task, logits in outputs.logits.items():
        target = labels[task]
        if each:
            _, vectors, classes = logits.shape
            losses = functional.cross_entropy(
                logits.float().reshape(-1, classes),
                target.repeat_interleave(vectors),
                ignore_index=-1,
                label_smoothing=smoothing,
                reduction="none",
            ).view(-1, vectors)
            per_segment = (losses * outputs.valid).sum(dim=1)
        else:
            per_segment = functional.cross_entropy(
                averaged[task], target, ignore_index=-1, label_smoothing=smoothing, reduction="none"
            )
        total = total + per_segment.sum() / (target >= 0).sum().clamp_min(1)
    return total
