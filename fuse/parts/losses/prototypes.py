"""prototypes: few-shot meta-training, queries told apart by their distance to class means (MMG-Ego4D)."""

import torch
from torch.nn import functional


def prototype_logits(
    support: torch.Tensor, support_labels: torch.Tensor, queries: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Minus the squared Euclidean distance of each query to each class's mean (the distance is UNSURE in the paper).

    Args:
        support: (S, F) features with labels (S,).
        queries: (Q, F).

    Returns:
        (Q, W) logits and (W,) the classes they are of, ascending.
    """
    classes, index = support_labels.unique(return_inverse=True)
    one_hot = functional.one_hot(index, len(classes)).to(support.dtype)
    means = (one_hot.T @ support) / one_hot.sum(dim=0)[:, None]
    return -(queries[:, None] - means[None]).square().sum(dim=-1), classes


def prototypes(features: torch.Tensor, labels: torch.Tensor, is_support: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the queries of one episode.

    Args:
        features: (B, F).
        labels: (B,) int64; every query's class has a support.
        is_support: (B,) bool, the others are queries.
    """
    features = features.float()
    logits, classes = prototype_logits(features[is_support], labels[is_support], features[~is_support])
    return functional.cross_entropy(logits, torch.searchsorted(classes, labels[~is_support]))
