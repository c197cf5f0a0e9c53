"""token: a learned token in every place of what is missing (MMT)."""

import torch
from torch import nn

from mmcache.fuse.config import FuseConfig
from mmcache.fuse.parts.handlers.base import Fill, Filled, Targets, learned, occupied


class TokenFill(Fill):
    """MMT (CVPR-W 2025): every token of an absent modality m becomes one learned e_m, before positions are added."""

    def __init__(self, tokens: list[int], config: FuseConfig) -> None:
        super().__init__(tokens, config)
        self.missing = nn.ParameterList([learned(config.width) for _ in tokens])
        self.missing.requires_grad_(not config.freeze_tokens)
        self.shares = config.replace_shares

    def forward(
        self, tokens: list[torch.Tensor], masks: list[torch.Tensor], kept: torch.Tensor, targets: Targets | None = None
    ) -> Filled:
        stays = [kept[:, m, None].expand_as(mask) for m, mask in enumerate(masks)]
        if self.training and self.shares:
            stays = [stay & ~self._replaced(mask) for stay, mask in zip(stays, masks, strict=True)]
        filled = [torch.where(stays[m][..., None], x, self.missing[m]) for m, x in enumerate(tokens)]
        return Filled(filled, occupied(masks, kept))

    def _replaced(self, mask: torch.Tensor) -> torch.Tensor:
        """(B, n) bool: for each segment, a share of its tokens, each entry of `shares` as likely."""
        drawn = torch.rand_like(mask[:, 0], dtype=torch.float32)
        shares = drawn.new_tensor(self.shares)[(drawn * len(self.shares)).long()]
        order = torch.rand_like(mask, dtype=torch.float32, memory_format=torch.contiguous_format)
        rank = torch.where(mask, order, order + 1).argsort(dim=1).argsort(dim=1)  # true tokens first
        return rank < (shares * mask.sum(dim=1)).round()[:, None]
