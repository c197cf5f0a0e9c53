"""token: a learned token in every place of what is missing (MMT)."""

import torch
from torch import nn

from mmcache.fuse.config import FuseConfig
from mmcache.fuse.fills.base import Fill, Filled, Targets, learned, occupied


class TokenFill(Fill):
    """MMT (CVPR-W 2025): every token of an absent modality m becomes one learned e_m, before positions are added."""

    def __init__(self, tokens: list[int], config: FuseConfig) -> None:
        super().__init__(tokens, config)
        self.missing = nn.ParameterList([learned(config.width) for _ in tokens])

    def forward(
        self, tokens: list[torch.Tensor], masks: list[torch.Tensor], kept: torch.Tensor, targets: Targets | None = None
    ) -> Filled:
        filled = [torch.where(kept[:, m, None, None], x, self.missing[m]) for m, x in enumerate(tokens)]
        return Filled(filled, occupied(masks, kept))
