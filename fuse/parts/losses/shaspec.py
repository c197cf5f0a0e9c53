"""shared, specific: what the two parts of a modality are to hold (ShaSpec)."""

import torch
from torch.nn import functional


def shared_loss(means: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """L1 between the shared parts of cyclic pairs of modalities (m, m + 1), over the pairs that are both kept.

    Args:
        means: (B, M, d).
        kept: (B, M) bool, those that count.
    """
    if means.shape[1] < 2:
        return means.new_zeros(())
    both = kept & kept.roll(-1, dims=1)
    apart = torch.where(both[..., None], means - means.roll(-1, dims=1), torch.zeros_like(means))
    return apart.abs().mean(dim=-1).sum() / both.sum().clamp_min(1)


def specific_loss(logits: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of telling from a specific part which modality it is of.

    Args:
        logits: (B, M, M), the last over modalities.
        kept: (B, M) bool.
    """
    which = torch.arange(logits.shape[1], device=logits.device).expand(len(logits), -1)
    losses = functional.cross_entropy(logits.float().flatten(0, 1), which.flatten(), reduction="none").view_as(which)
    return torch.where(kept, losses, torch.zeros_like(losses)).sum() / kept.sum().clamp_min(1)
