"""sum, concat, mlp: fusions of one mean vector a modality. late: no fusion before the logits."""

import torch
from torch import nn
from torch.nn import functional

from mmcache.fuse.config import FuseConfig
from mmcache.fuse.network.pooling import masked_mean
from mmcache.fuse.parts.fusions.base import Fused, Fusion, Prompts


def _pooled(tokens: list[torch.Tensor], masks: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, M, d) means, zero where a modality has no token, and (B, M) whether it has any."""
    vectors = torch.stack([masked_mean(x, mask) for x, mask in zip(tokens, masks, strict=True)], dim=1)
    return vectors, torch.stack([mask.any(dim=1) for mask in masks], dim=1)


class SumFusion(Fusion):
    """The sum over the modalities that are there of FC_m(mean token). FC_m goes to width d, and a head to classes."""

    def __init__(self, modalities: int, config: FuseConfig) -> None:
        super().__init__(modalities, config)
        self.layers = nn.ModuleList([nn.Linear(config.width, config.width) for _ in range(modalities)])

    def forward(self, tokens: list[torch.Tensor], masks: list[torch.Tensor], prompts: Prompts | None = None) -> Fused:
        vectors, there = _pooled(tokens, masks)
        each = torch.stack([layer(vectors[:, m]) for m, layer in enumerate(self.layers)], dim=1)
        return Fused(torch.einsum("bmd,bm->bd", each, there.to(each.dtype)), [], [])


class ConcatFusion(Fusion):
    """One FC over the mean tokens side by side.

    With a modality missing, the weights of the others and |S| / M of the bias are used (ActionMAE, footnote).
    """

    def __init__(self, modalities: int, config: FuseConfig) -> None:
        super().__init__(modalities, config)
        self.layer = nn.Linear(modalities * config.width, config.width)

    def forward(self, tokens: list[torch.Tensor], masks: list[torch.Tensor], prompts: Prompts | None = None) -> Fused:
        vectors, there = _pooled(tokens, masks)
        share = there.sum(dim=1, keepdim=True) / there.shape[1]
        return Fused(functional.linear(vectors.flatten(1), self.layer.weight) + self.layer.bias * share, [], [])


class MlpFusion(Fusion):
    """An MLP over the mean tokens side by side, zeros for what is not there (the ablation of MMG-Ego4D)."""

    def __init__(self, modalities: int, config: FuseConfig) -> None:
        super().__init__(modalities, config)
        width, hidden = config.width, int(config.width * config.ffn_ratio)
        self.layers = nn.Sequential(
            nn.Linear(modalities * width, hidden), nn.GELU(), nn.Dropout(config.dropout), nn.Linear(hidden, width)
        )

    def forward(self, tokens: list[torch.Tensor], masks: list[torch.Tensor], prompts: Prompts | None = None) -> Fused:
        return Fused(self.layers(_pooled(tokens, masks)[0].flatten(1)), [], [])


class LateFusion(Fusion):
    """Nothing is mixed: the head's logits of each modality that is there are averaged."""

    def forward(self, tokens: list[torch.Tensor], masks: list[torch.Tensor], prompts: Prompts | None = None) -> Fused:
        return Fused(None, tokens, masks)
