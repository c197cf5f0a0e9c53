"""shaspec: a shared and a specific part of every modality; the shared part stands in for what is missing (ShaSpec)."""

import torch
from torch import nn

from mmcache.fuse.config import FuseConfig
from mmcache.fuse.network.pooling import masked_mean
from mmcache.fuse.parts.fusions.transformer import Block
from mmcache.fuse.parts.handlers.base import Fill, Filled, Targets, in_first_place
from mmcache.fuse.parts.losses.shaspec import shared_loss, specific_loss


class ShaSpecFill(Fill):
    """ShaSpec (CVPR 2023): s_m = S(x_m) shared, e_m = E_m(x_m) specific.

    A kept modality becomes f_m = s_m + Proj([s_m, e_m]); a missing one has one token, a stand-in made of the means
    of the shared parts that are there: their mean (`stand_in` mean; the paper is UNSURE for several) or the
    first of them (`stand_in` first, the official code). S and E_m are transformer blocks over frozen tokens. The two
    losses look at what is kept, or, with `auxiliary` all (the official code), at the zeros of the rest too.
    """

    def __init__(self, tokens: list[int], config: FuseConfig) -> None:
        super().__init__(tokens, config)
        width = config.width
        shape = (width, config.heads, config.ffn_ratio, config.dropout, config.attention_dropout)
        self.first, self.all = config.stand_in == "first", config.auxiliary == "all"
        self.shared = Block(*shape)
        self.specific = nn.ModuleList([Block(*shape) for _ in tokens])
        self.join = nn.Linear(2 * width, width)
        self.which = nn.Linear(width, len(tokens))

    def forward(
        self, tokens: list[torch.Tensor], masks: list[torch.Tensor], kept: torch.Tensor, targets: Targets | None = None
    ) -> Filled:
        # A row without any key would have no softmax; what comes of it is never read.
        attended = [mask | ~kept[:, m, None] for m, mask in enumerate(masks)]
        shared = [self.shared(x, mask) for x, mask in zip(tokens, attended, strict=True)]
        specific = [e(x, mask) for e, x, mask in zip(self.specific, tokens, attended, strict=True)]
        shared_means = torch.stack([masked_mean(x, mask) for x, mask in zip(shared, masks, strict=True)], dim=1)
        stand_in = self._stand_in(shared_means, kept)
        out, out_masks = [], []
        for m, (s, e) in enumerate(zip(shared, specific, strict=True)):
            x, mask = in_first_place(s + self.join(torch.cat([s, e], dim=-1)), masks[m], ~kept[:, m], stand_in)
            out.append(x)
            out_masks.append(mask)
        losses = {}
        if targets is not None:
            looked_at = attended if self.all else masks
            means, shared_means = (
                torch.stack([masked_mean(x, mask) for x, mask in zip(parts, looked_at, strict=True)], dim=1)
                for parts in (specific, shared)
            )
            counted = torch.ones_like(kept) if self.all else kept
            losses = {
                "shared": shared_loss(shared_means, counted),
                "specific": specific_loss(self.which(means), counted),
            }
        return Filled(out, out_masks, losses)

    def _stand_in(self, means: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        """(B, M, d) means of the shared parts -> (B, d)."""
        used = kept & (kept.cumsum(dim=1) == 1) if self.first else kept
        weights = used.to(means.dtype)
        return torch.einsum("bmd,bm->bd", means, weights) / weights.sum(dim=1, keepdim=True).clamp_min(1.0)
