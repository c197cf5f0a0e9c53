"""token: a learned token in every place of a missing modality (MMT)."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mmcache.fuse.options.fields import Rate, option
from mmcache.fuse.parts.handlers.base import Handled, Handler, learned, occupied
from mmcache.fuse.parts.part import Shape, permuted
from mmcache.store.ground.errors import Problems


class Token(Handler):
    """Every token of a missing modality m becomes one learned e_m, before positions are added (MMT, CVPR-W 2025)."""

    @dataclass(frozen=True)
    class Options:
        replace_shares: list[Rate] = option(
            [], "Also replace a share of a kept modality's tokens, drawn from this list for each segment (MMT's code)."
        )
        freeze_tokens: bool = option(False, "The tokens stay as they were drawn, or as in the run it starts from.")

    @classmethod
    def check(cls, options: Any, problems: Problems) -> None:
        if options.handler.replace_shares and options.target is not None:
            problems.add("replace_shares replaces tokens of every modality: leave out --target")

    def __init__(self, shape: Shape, options: Options) -> None:
        super().__init__(shape, options)
        self.missing = nn.ParameterList([learned(shape.width) for _ in shape.tokens])
        self.missing.requires_grad_(not options.freeze_tokens)
        self.shares = options.replace_shares

    def forward(self, tokens: list[torch.Tensor], masks: list[torch.Tensor], kept: torch.Tensor) -> Handled:
        stays = [kept[:, m, None].expand_as(mask) for m, mask in enumerate(masks)]
        if self.training and self.shares:
            stays = [stay & ~self._replaced(mask) for stay, mask in zip(stays, masks, strict=True)]
        filled = [torch.where(stays[m][..., None], x, self.missing[m]) for m, x in enumerate(tokens)]
        return Handled(filled, occupied(masks, kept))

    def permute(self, order: list[int]) -> None:
        self.missing = permuted(self.missing, order)

    def _replaced(self, mask: torch.Tensor) -> torch.Tensor:
        """(B, n) bool: for each segment, a share of its tokens, each entry of `shares` as likely."""
        drawn = torch.rand_like(mask[:, 0], dtype=torch.float32)
        shares = drawn.new_tensor(self.shares)[(drawn * len(self.shares)).long()]
        order = torch.rand_like(mask, dtype=torch.float32, memory_format=torch.contiguous_format)
        rank = torch.where(mask, order, order + 1).argsort(dim=1).argsort(dim=1)  # true tokens first
        return rank < (shares * mask.sum(dim=1)).round()[:, None]
