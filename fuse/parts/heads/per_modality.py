"""per_modality: a classifier for every modality (MMT)."""

from dataclasses import dataclass

import torch
from torch import nn

from mmcache.fuse.options.fields import Share, option
from mmcache.fuse.parts.fusions.base import Fused
from mmcache.fuse.parts.heads.base import Head, Outputs, module_name
from mmcache.fuse.parts.part import Shape, permuted
from mmcache.fuse.parts.pooling import masked_mean


class PerModality(Head):
    """MMT: own norm and linear for every modality, on the mean of its tokens after token dropout; CLS is not used."""

    each = True
    reads_tokens = True
    has_norm = True

    @dataclass(frozen=True)
    class Options:
        token_dropout: Share = option(0.0, "Dropout of whole tokens before their mean.")

    def __init__(self, shape: Shape, classes: dict[str, int], options: Options) -> None:
        super().__init__(shape, classes, options)
        width = self.features = shape.width
        self.token_dropout = options.token_dropout
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in shape.tokens])
        self.tasks = nn.ModuleList(
            [
                nn.ModuleDict({module_name(task): nn.Linear(width, n) for task, n in classes.items()})
                for _ in shape.tokens
            ]
        )

    def permute(self, order: list[int]) -> None:
        self.norms, self.tasks = permuted(self.norms, order), permuted(self.tasks, order)

    def forward(self, fused: Fused) -> Outputs:
        logits: dict[str, list[torch.Tensor]] = {task: [] for task in self.keys}
        features = []
        for tokens, mask, norm, heads in zip(fused.tokens, fused.masks, self.norms, self.tasks, strict=True):
            pooled = masked_mean(norm(tokens), self._thinned(mask))
            features.append(pooled)
            assert isinstance(heads, nn.ModuleDict)
            for task, key in self.keys.items():
                logits[task].append(heads[key](pooled))
        valid = torch.stack([mask.any(dim=1) for mask in fused.masks], dim=1)
        stacked = {task: torch.stack(parts, dim=1) for task, parts in logits.items()}
        return Outputs(stacked, valid, torch.stack(features, dim=1))

    def _thinned(self, mask: torch.Tensor) -> torch.Tensor:
        """In training, leave each token out of the mean with probability `token_dropout`."""
        if not self.training or self.token_dropout == 0.0:
            return mask
        drawn = torch.rand_like(mask, dtype=torch.float32, memory_format=torch.contiguous_format)
        return mask & (drawn >= self.token_dropout)
