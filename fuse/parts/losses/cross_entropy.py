"""ce: cross-entropy over Outputs. Unlabelled segments (-1) count for nothing; tasks are summed."""

from collections.abc import Mapping

import torch
from torch.nn import functional

from mmcache.fuse.parts.heads.base import Outputs


def cross_entropy(
    outputs: Outputs,
    labels: dict[str, torch.Tensor],
    smoothing: float,
    each: bool,
    weights: Mapping[str, torch.Tensor] | None = None,
) -> torch.Tensor:
    """Cross-entropy, summed over tasks, averaged over labelled segments.

    Args:
        labels: task -> (B,) int64, -1 where unlabelled.
        smoothing: label smoothing.
        weights: task -> (C,) what a segment of each class counts; None = all 1.
        each: sum the losses of every valid vector (MMT), instead of taking that of the averaged logits.
    """
    averaged = {} if each else outputs.mean()
    total = outputs.valid.new_zeros((), dtype=torch.float32)
    for task, logits in outputs.logits.items():
        target = labels[task]
        weight = None if weights is None else weights[task]
        if each:
            _, vectors, classes = logits.shape
            losses = functional.cross_entropy(
                logits.float().reshape(-1, classes),
                target.repeat_interleave(vectors),
                weight,
                ignore_index=-1,
                label_smoothing=smoothing,
                reduction="none",
            ).view(-1, vectors)
            per_segment = (losses * outputs.valid).sum(dim=1)
        else:
            per_segment = functional.cross_entropy(
                averaged[task], target, weight, ignore_index=-1, label_smoothing=smoothing, reduction="none"
            )
        labelled = target >= 0
        count = labelled.sum() if weight is None else (weight[target.clamp_min(0)] * labelled).sum()
        total = total + per_segment.sum() / count.clamp_min(1 if weight is None else torch.finfo(count.dtype).tiny)
    return total


def class_weights(labels: torch.Tensor, classes: int, kind: str) -> torch.Tensor:
    """(C,) weights by how seldom a class is: 1 / n_c, or its root, scaled so that a segment counts 1 on average.

    Args:
        labels: (n,) of the segments trained on, -1 where unlabelled.
        kind: inverse or root. A class that never occurs counts 0.
    """
    counts = torch.bincount(labels[labels >= 0], minlength=classes).double()
    seldom = torch.where(counts > 0, 1 / counts.clamp_min(1), torch.zeros_like(counts))
    if kind == "root":
        seldom = seldom.sqrt()
    return (seldom * counts.sum() / (seldom * counts).sum().clamp_min(1e-12)).float()
