"""Pools: one vector a modality, before missing modalities are handled. To add one, write its class and its line."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mmcache.fuse.options.fields import Count, option
from mmcache.fuse.parts.part import PartModule, Shape
from mmcache.fuse.parts.pooling import encoder_stack, masked_mean


class Pool(PartModule):
    """Base of all pools: made once for every modality."""

    def __init__(self, count: int, shape: Shape, options: Any) -> None:
        super().__init__()

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, n, d) and (B, n) -> (B, 1, d)."""
        raise NotImplementedError


class MeanPool(Pool):
    """The mean of a modality's tokens."""

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return masked_mean(tokens, mask)[:, None]


class TransformerPool(Pool):
    """The class token of a small transformer over a modality's tokens (ActionMAE, AAAI 2023: 2 layers over frames)."""

    reads = frozenset({"heads", "ffn_ratio", "dropout", "block_norm"})
    has_norm = True

    @dataclass(frozen=True)
    class Options:
        pool_depth: Count = option(2, "Layers of the transformer that pools.", backbone=True)

    def __init__(self, count: int, shape: Shape, options: Options) -> None:
        super().__init__(count, shape, options)
        self.cls = nn.Parameter(torch.randn(1, 1, shape.width) * 0.02)
        self.positions = nn.Parameter(torch.randn(count, shape.width) * 0.02)
        self.encoder = encoder_stack(
            shape.width, options.pool_depth, shape.heads, shape.hidden, shape.dropout, shape.block_norm
        )

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = torch.cat([self.cls.expand(tokens.shape[0], -1, -1), tokens + self.positions[: tokens.shape[1]]], dim=1)
        padding = torch.cat([mask.new_zeros(mask.shape[0], 1), ~mask], dim=1)
        return self.encoder(x, src_key_padding_mask=padding)[:, :1]


POOLS: dict[str, type[Pool] | None] = {"none": None, "mean": MeanPool, "transformer": TransformerPool}
