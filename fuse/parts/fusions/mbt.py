"""mbt: bottleneck transformer fusion (MBT, Nagrani et al., NeurIPS 2021)."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mmcache.fuse.options.fields import Count, Whole, option
from mmcache.fuse.parts.fusions.base import Fused, Fusion, Prompts
from mmcache.fuse.parts.fusions.transformer import Block
from mmcache.fuse.parts.part import Shape, permuted
from mmcache.store.ground.errors import Problems


class Bottleneck(Fusion):
    """Modalities exchange through a few bottleneck tokens only.

    Each modality has blocks of its own. From layer `fusion_layer` on, every modality reads and writes the same shared
    bottlenecks, in parallel; the next layer gets the mean of what was written, over the present modalities
    (released MMT code has no such path: UNSURE). Bottlenecks are dropped at the end; the final norm is shared.
    `class_tokens`: the head reads one class token a modality (the paper) rather than all tokens (its code's
    default). The official code then adds one bottleneck; here `bottlenecks` is what it says.
    """

    reads = frozenset({"depth", *Block.READS})
    has_norm = True

    @dataclass(frozen=True)
    class Options:
        bottlenecks: Count = option(4, "Tokens that the modalities share.", backbone=True)
        fusion_layer: Whole | None = option(
            None, "First layer that reads the bottlenecks; the last but one where none is named.", backbone=True
        )
        class_tokens: bool = option(False, "The head reads one class token a modality (the paper).", backbone=True)

    @classmethod
    def check(cls, options: Any, problems: Problems) -> None:
        depth, first = options.network.depth, options.fusion.fusion_layer
        if first is None and depth < 2:
            problems.add(
                "the fusion mbt at depth 1 has its modalities write to the bottlenecks and never read them: give "
                "--depth 2 or more"
            )
        elif first is not None and first > depth:
            problems.add(f"fusion_layer {first} is past --depth {depth}; at most {depth}")

    def __init__(self, shape: Shape, options: Options) -> None:
        super().__init__(shape, options)
        width = shape.width
        self.fusion_layer = max(0, shape.depth - 2 if options.fusion_layer is None else options.fusion_layer)
        self.bottlenecks = nn.Parameter(torch.randn(1, options.bottlenecks, width) * 0.02)
        self.classes = (
            nn.ParameterList([torch.randn(1, 1, width) * 0.02 for _ in shape.tokens]) if options.class_tokens else None
        )
        self.layers = nn.ModuleList([nn.ModuleList([Block(shape) for _ in shape.tokens]) for _ in range(shape.depth)])
        self.norm = nn.LayerNorm(width)

    def permute(self, order: list[int]) -> None:
        self.layers = nn.ModuleList([permuted(blocks, order) for blocks in self.layers])
        if self.classes is not None:
            self.classes = permuted(self.classes, order)

    def forward(self, tokens: list[torch.Tensor], masks: list[torch.Tensor], prompts: Prompts | None = None) -> Fused:
        there = torch.stack([mask.any(dim=1) for mask in masks])  # (M, B)
        parts, masks = list(tokens), list(masks)
        if self.classes is not None:
            rows = parts[0].shape[0]
            parts = [torch.cat([c.expand(rows, -1, -1), x], dim=1) for c, x in zip(self.classes, parts, strict=True)]
            masks = [torch.cat([here[:, None], mask], dim=1) for here, mask in zip(there, masks, strict=True)]
        # A row without any key would have no softmax; what comes of it is never read.
        attended = [mask | ~here[:, None] for here, mask in zip(there, masks, strict=True)]
        shared = self.bottlenecks.expand(parts[0].shape[0], -1, -1)
        for layer, blocks in enumerate(self.layers):
            assert isinstance(blocks, nn.ModuleList)
            if layer < self.fusion_layer:
                parts = [block(x, mask) for block, x, mask in zip(blocks, parts, attended, strict=True)]
                continue
            written = []
            for m, block in enumerate(blocks):
                x = torch.cat([parts[m], shared], dim=1)
                mask = torch.cat([masks[m], masks[m].new_ones(x.shape[0], shared.shape[1])], dim=1)
                parts[m], own = block(x, mask).split([parts[m].shape[1], shared.shape[1]], dim=1)
                written.append(own)
            weights = there.to(written[0].dtype) / there.sum(dim=0).clamp_min(1)
            shared = torch.einsum("mbnd,mb->bnd", torch.stack(written), weights)
        parts = [self.norm(x) for x in parts]
        if self.classes is not None:
            parts, masks = [x[:, :1] for x in parts], [mask[:, :1] for mask in masks]
        return Fused(None, parts, masks)
