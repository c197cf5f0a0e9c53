"""zeros: what is missing is zeros before the projector, so that its bias is what the fusion sees."""

import torch

from mmcache.fuse.parts.handlers.base import Fill, Filled, Targets, occupied


class ZerosFill(Fill):
    """Zeros instead of the raw tokens, so that the projector's bias is what the fusion sees (MMT's baselines)."""

    def forward(
        self, tokens: list[torch.Tensor], masks: list[torch.Tensor], kept: torch.Tensor, targets: Targets | None = None
    ) -> Filled:
        return Filled(tokens, occupied(masks, kept))
