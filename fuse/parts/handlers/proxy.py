"""proxy: for each missing modality, tokens that the others predict for it (CMPT, COMPASS)."""

import torch
from torch import nn

from mmcache.fuse.config import FuseConfig
from mmcache.fuse.network.pooling import masked_mean
from mmcache.fuse.parts.handlers.base import Fill, Filled, Targets, in_first_place, learned
from mmcache.fuse.parts.losses.reconstruction import reconstruction


class ProxyFill(Fill):
    """A proxy of b from a: a learned token and a's tokens through one transformer layer, output 0.

    A missing modality b becomes one token, the mean of the proxies a -> b over the modalities a that are kept.
    `proxy_encoder` pair is COMPASS (arXiv 2604.02056): a layer for each pair. source is CMPT (arXiv 2501.17823),
    whose proxy tokens are appended to the tokens of a in a's own encoder: here, the encoders being frozen, a layer
    for each a. The loss is the squared error to the mean of b's real tokens, over every pair with a kept and b
    present but not kept.
    """

    wants_targets = True

    def __init__(self, tokens: list[int], config: FuseConfig) -> None:
        super().__init__(tokens, config)
        modalities, width = len(tokens), config.width
        self.per_pair = config.proxy_encoder == "pair"
        self.proxies = nn.ParameterList([learned(modalities, width) for _ in tokens])  # [a][b]
        self.layers = nn.ModuleList(
            [
                nn.TransformerEncoderLayer(width, config.heads, 2 * width, config.fill_dropout, batch_first=True)
                for _ in range(modalities * modalities if self.per_pair else modalities)
            ]
        )

    def forward(
        self, tokens: list[torch.Tensor], masks: list[torch.Tensor], kept: torch.Tensor, targets: Targets | None = None
    ) -> Filled:
        modalities = len(tokens)
        out, out_masks, errors, pairs = [], [], [], []
        for b in range(modalities):
            sources = [a for a in range(modalities) if a != b]
            if not sources:  # a model of one modality has no proxies
                return Filled(tokens, masks, {} if targets is None else {"reconstruction": tokens[0].new_zeros(())})
            proxies = torch.stack([self._proxy(a, b, tokens[a], masks[a]) for a in sources], dim=1)  # (B, M - 1, d)
            weights = kept[:, sources].to(proxies.dtype)
            mean = torch.einsum("bad,ba->bd", proxies, weights) / weights.sum(dim=1, keepdim=True).clamp_min(1.0)
            x, mask = in_first_place(tokens[b], masks[b], ~kept[:, b], mean)
            out.append(x)
            out_masks.append(mask)
            if targets is not None:
                errors.append(proxies - masked_mean(targets.tokens[b], targets.masks[b])[:, None])
                pairs.append(kept[:, sources] & targets.known[:, b, None])
        losses = {}
        if targets is not None:
            wrong = torch.cat(errors, dim=1)
            losses["reconstruction"] = reconstruction(wrong, torch.zeros_like(wrong), torch.cat(pairs, dim=1))
        return Filled(out, out_masks, losses)

    def _proxy(self, a: int, b: int, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, n, d) tokens of a -> (B, d), what they say of b."""
        token = self.proxies[a][b].expand(tokens.shape[0], 1, -1)
        padding = torch.cat([mask.new_zeros(mask.shape[0], 1), ~mask], dim=1)
        layer = self.layers[a * len(self.proxies) + b if self.per_pair else a]
        return layer(torch.cat([token, tokens], dim=1), src_key_padding_mask=padding)[:, 0]
