"""sum, concat, mlp: fusions of one mean vector a modality. late: no fusion before the logits."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from mmcache.fuse.parts.fusions.base import Fused, Fusion, Prompts
from mmcache.fuse.parts.part import Shape, permuted
from mmcache.fuse.parts.pooling import masked_mean


def _pooled(tokens: list[torch.Tensor], masks: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, M, d) means, zero where a modality has no token, and (B, M) whether it has any."""
    vectors = torch.stack([masked_mean(x, mask) for x, mask in zip(tokens, masks, strict=True)], dim=1)
    return vectors, torch.stack([mask.any(dim=1) for mask in masks], dim=1)


@torch.no_grad()
def _permute_columns(layer: nn.Linear, order: list[int]) -> None:
    """Of a layer that reads the vectors of all modalities side by side."""
    weight = layer.weight
    weight.copy_(weight.view(len(weight), len(order), -1)[:, order].flatten(1))


class Sum(Fusion):
    """The sum over present modalities of FC_m(mean token). FC_m goes to width d, and a head to classes."""

    keeps_tokens = False

    def __init__(self, shape: Shape, options: Any) -> None:
        super().__init__(shape, options)
        self.layers = nn.ModuleList([nn.Linear(shape.width, shape.width) for _ in shape.tokens])

    def permute(self, order: list[int]) -> None:
        self.layers = permuted(self.layers, order)

    def forward(self, tokens: list[torch.Tensor], masks: list[torch.Tensor], prompts: Prompts | None = None) -> Fused:
        vectors, there = _pooled(tokens, masks)
        each = torch.stack([layer(vectors[:, m]) for m, layer in enumerate(self.layers)], dim=1)
        return Fused(torch.einsum("bmd,bm->bd", each, there.to(each.dtype)), [], [])


class Concat(Fusion):
    """One FC over the mean tokens side by side.

    With a modality missing, the weights of the others and |S| / M of the bias are used (ActionMAE, footnote).
    """

    keeps_tokens = False

    def __init__(self, shape: Shape, options: Any) -> None:
        super().__init__(shape, options)
        self.layer = nn.Linear(shape.modalities * shape.width, shape.width)

    def permute(self, order: list[int]) -> None:
        _permute_columns(self.layer, order)

    def forward(self, tokens: list[torch.Tensor], masks: list[torch.Tensor], prompts: Prompts | None = None) -> Fused:
        vectors, there = _pooled(tokens, masks)
        share = there.sum(dim=1, keepdim=True) / there.shape[1]
        return Fused(functional.linear(vectors.flatten(1), self.layer.weight) + self.layer.bias * share, [], [])


class Mlp(Fusion):
    """An MLP over the mean tokens side by side, zeros for what is not there (the ablation of MMG-Ego4D)."""

    keeps_tokens = False
    reads = frozenset({"ffn_ratio", "dropout"})

    def __init__(self, shape: Shape, options: Any) -> None:
        super().__init__(shape, options)
        width, hidden = shape.width, shape.hidden
        self.layers = nn.Sequential(
            nn.Linear(shape.modalities * width, hidden), nn.GELU(), nn.Dropout(shape.dropout), nn.Linear(hidden, width)
        )

    def permute(self, order: list[int]) -> None:
        _permute_columns(self.layers[0], order)  # type: ignore[arg-type]

    def forward(self, tokens: list[torch.Tensor], masks: list[torch.Tensor], prompts: Prompts | None = None) -> Fused:
        return Fused(self.layers(_pooled(tokens, masks)[0].flatten(1)), [], [])


class Late(Fusion):
    """Nothing is mixed: the head's logits of each modality that is there are averaged."""

    def forward(self, tokens: list[torch.Tensor], masks: list[torch.Tensor], prompts: Prompts | None = None) -> Fused:
        return Fused(None, tokens, masks)
