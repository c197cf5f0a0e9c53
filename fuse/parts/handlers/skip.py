"""skip: a missing modality has no tokens."""

import torch

from mmcache.fuse.parts.handlers.base import Handled, Handler


class Skip(Handler):
    """The tokens of a missing modality are left out of attention and of pooling."""

    leaves_out = True

    def forward(self, tokens: list[torch.Tensor], masks: list[torch.Tensor], kept: torch.Tensor) -> Handled:
        return Handled(tokens, masks)
