"""Heads: from fused tokens to logits, several vectors a segment, averaged for the prediction."""

import dataclasses

import torch
from torch import nn

from mmcache.fuse.fusion import Fused


@dataclasses.dataclass(frozen=True)
class Outputs:
    """Logits of every vector of a segment.

    Attributes:
        logits: task -> (B, V, C).
        valid: (B, V) bool, the vectors that count.
    """

    logits: dict[str, torch.Tensor]
    valid: torch.Tensor

    def mean(self) -> dict[str, torch.Tensor]:
        """Task -> (B, C), logits averaged over the valid vectors."""
        weights = self.valid.float() / self.valid.sum(dim=1, keepdim=True)
        return {task: torch.einsum("bvc,bv->bc", logits.float(), weights) for task, logits in self.logits.items()}


def masked_mean(tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(B, n, d) and (B, n) -> (B, d); zero where nothing is valid."""
    weights = mask.to(tokens.dtype)
    return torch.einsum("bnd,bn->bd", tokens, weights) / weights.sum(dim=1, keepdim=True).clamp_min(1.0)


class SharedHead(nn.Module):
    """KARMMA: CLS and each modality's mean token go through one MLP (d -> 2d, then a linear a task).

    The hidden activation (GELU) and averaging logits rather than probabilities are UNSURE in the paper.
    """

    each = False  # the loss is taken of the averaged logits

    def __init__(self, width: int, modalities: int, classes: dict[str, int], token_dropout: float) -> None:
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU())
        self.tasks = nn.ModuleDict({task: nn.Linear(2 * width, count) for task, count in classes.items()})

    def forward(self, fused: Fused) -> Outputs:
        pooled = [masked_mean(tokens, mask) for tokens, mask in zip(fused.tokens, fused.masks, strict=True)]
        valid = [mask.any(dim=1) for mask in fused.masks]
        if fused.cls is not None:
            pooled, valid = [fused.cls, *pooled], [torch.ones_like(valid[0]), *valid]
        hidden = self.hidden(torch.stack(pooled, dim=1))  # (B, V, 2d)
        return Outputs({task: head(hidden) for task, head in self.tasks.items()}, torch.stack(valid, dim=1))


class PerModalityHead(nn.Module):
    """MMT: own norm and linear for every modality, on the mean of its tokens after token dropout; CLS is not used."""

    each = True  # the loss is the sum over modalities

    def __init__(self, width: int, modalities: int, classes: dict[str, int], token_dropout: float) -> None:
        super().__init__()
        self.token_dropout = token_dropout
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(modalities)])
        self.tasks = nn.ModuleList(
            [nn.ModuleDict({task: nn.Linear(width, n) for task, n in classes.items()}) for _ in range(modalities)]
        )
        self.names = list(classes)

    def forward(self, fused: Fused) -> Outputs:
        logits: dict[str, list[torch.Tensor]] = {task: [] for task in self.names}
        for tokens, mask, norm, heads in zip(fused.tokens, fused.masks, self.norms, self.tasks, strict=True):
            pooled = masked_mean(norm(tokens), self._thinned(mask))
            for task in self.names:
                logits[task].append(heads[task](pooled))  # type: ignore[index]
        valid = torch.stack([mask.any(dim=1) for mask in fused.masks], dim=1)
        return Outputs({task: torch.stack(parts, dim=1) for task, parts in logits.items()}, valid)

    def _thinned(self, mask: torch.Tensor) -> torch.Tensor:
        """In training, leave each token out of the mean with probability `token_dropout`."""
        if not self.training or self.token_dropout == 0.0:
            return mask
        return mask & (torch.rand(mask.shape, device=mask.device) >= self.token_dropout)


HEADS: dict[str, type[SharedHead] | type[PerModalityHead]] = {
    "shared": SharedHead,
    "per_modality": PerModalityHead,
}
