"""linear, gap: one linear a task."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mmcache.fuse.options.fields import Share, option
from mmcache.fuse.parts.fusions.base import Fused
from mmcache.fuse.parts.heads.base import Head, Outputs, module_name, vectors
from mmcache.fuse.parts.part import Shape
from mmcache.fuse.parts.pooling import masked_mean


class Linear(Head):
    """One linear a task: on CLS where the fusion has one, else on each modality's mean token (or its class token)."""

    @dataclass(frozen=True)
    class Options:
        head_norm: bool = option(False, "LayerNorm before the classifier (COMPASS).")
        head_dropout: Share = option(0.0, "Dropout before the classifier (COMPASS).")

    @classmethod
    def normed(cls, options: Any) -> bool:
        return bool(options.head.head_norm)

    def __init__(self, shape: Shape, classes: dict[str, int], options: Options) -> None:
        super().__init__(shape, classes, options)
        self.features = shape.width
        self.norm = nn.LayerNorm(shape.width) if options.head_norm else nn.Identity()
        self.dropout = nn.Dropout(options.head_dropout)
        self.tasks = nn.ModuleDict({module_name(task): nn.Linear(shape.width, n) for task, n in classes.items()})

    def forward(self, fused: Fused) -> Outputs:
        read, valid = self._read(fused)
        read = self.dropout(self.norm(read))
        return Outputs({task: self.tasks[key](read) for task, key in self.keys.items()}, valid, read)

    def _read(self, fused: Fused) -> tuple[torch.Tensor, torch.Tensor]:
        return vectors(fused if fused.cls is None else Fused(fused.cls, [], []))


class Gap(Linear):
    """One linear a task on the mean over all tokens of all modalities, each token counting the same (MBT's 'gap')."""

    reads_tokens = True

    def _read(self, fused: Fused) -> tuple[torch.Tensor, torch.Tensor]:
        mask = torch.cat(fused.masks, dim=1)
        return masked_mean(torch.cat(fused.tokens, dim=1), mask)[:, None], mask.any(dim=1, keepdim=True)
