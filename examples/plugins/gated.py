"""A fusion of one's own: the modalities' mean tokens, weighted by gates that each of them sets for itself.

mmcache fuse --strategy dropout --fusion examples/plugins/gated.py:GatedSum --set head=linear --set gate_bias=1
"""

from dataclasses import dataclass

import torch
from torch import nn

from mmcache.fuse.options.fields import option
from mmcache.fuse.parts.fusions import Fused, Fusion, Prompts
from mmcache.fuse.parts.part import Shape, permuted
from mmcache.fuse.parts.pooling import masked_mean


class GatedSum(Fusion):
    """sum_m g_m(z_m) W_m z_m / sum_m g_m(z_m) over the modalities that have tokens, g a sigmoid of one linear."""

    keeps_tokens = False
    has_norm = True

    @dataclass(frozen=True)
    class Options:
        gate_bias: float = option(0.0, "Bias of the gates at the start.")

    def __init__(self, shape: Shape, options: Options) -> None:
        super().__init__(shape, options)
        self.layers = nn.ModuleList([nn.Linear(shape.width, shape.width) for _ in shape.tokens])
        self.gates = nn.ModuleList([nn.Linear(shape.width, 1) for _ in shape.tokens])
        self.norm = nn.LayerNorm(shape.width)
        for gate in self.gates:
            nn.init.constant_(gate.bias, options.gate_bias)

    def forward(self, tokens: list[torch.Tensor], masks: list[torch.Tensor], prompts: Prompts | None = None) -> Fused:
        means = [masked_mean(x, mask) for x, mask in zip(tokens, masks, strict=True)]
        there = torch.stack([mask.any(dim=1) for mask in masks], dim=1)  # (B, M)
        gates = torch.cat([gate(z).sigmoid() for gate, z in zip(self.gates, means, strict=True)], dim=1) * there
        values = torch.stack([layer(z) for layer, z in zip(self.layers, means, strict=True)], dim=1)  # (B, M, d)
        mixed = torch.einsum("bmd,bm->bd", values, gates) / gates.sum(dim=1, keepdim=True).clamp_min(1e-6)
        return Fused(self.norm(mixed), [], [])

    def permute(self, order: list[int]) -> None:
        self.layers, self.gates = permuted(self.layers, order), permuted(self.gates, order)
