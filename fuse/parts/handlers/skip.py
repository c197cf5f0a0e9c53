"""skip: what is missing has no tokens."""

import torch

from mmcache.fuse.parts.handlers.base import Fill, Filled, Targets


class SkipFill(Fill):
    """Nothing: the tokens are left out of attention and of pooling."""

    leaves_out = True

    def forward(
        self, tokens: list[torch.Tensor], masks: list[torch.Tensor], kept: torch.Tensor, targets: Targets | None = None
    ) -> Filled:
        return Filled(tokens, masks)
