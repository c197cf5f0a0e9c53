"""zeros: a missing modality is zeros before the projector, so the fusion sees the projector's bias."""

import torch

from mmcache.fuse.parts.handlers.base import Handled, Handler, occupied


class Zeros(Handler):
    """Zeros in place of the raw tokens of a missing modality (the baselines of MMT, CVPR-W 2025)."""

    def forward(self, tokens: list[torch.Tensor], masks: list[torch.Tensor], kept: torch.Tensor) -> Handled:
        return Handled(tokens, occupied(masks, kept))
