"""proxy: for each missing modality, one token that the others predict for it (CMPT, COMPASS)."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from mmcache.fuse.options.fields import Share, option
from mmcache.fuse.parts.handlers.base import Handled, Handler, in_first_place, learned
from mmcache.fuse.parts.losses.reconstruction import reconstruction
from mmcache.fuse.parts.part import Shape


@dataclass(frozen=True)
class Proxies:
    """What the others predict for each modality.

    Attributes:
        predicted: (B, M, M - 1, d): for each modality, the proxies of the others in their order.
        sources: (B, M, M - 1) bool: whether the predicting modality is kept.
    """

    predicted: torch.Tensor
    sources: torch.Tensor

    def loss(self, real: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        """Squared error to the mean of the real tokens, over pairs a -> b with a kept and b present but not kept.

        Args:
            real: (B, M, d).
            known: (B, M) bool, present and not kept.
        """
        wrong = (self.predicted - real[:, :, None]).flatten(1, 2)
        pairs = (self.sources & known[:, :, None]).flatten(1, 2)
        return reconstruction(wrong, torch.zeros_like(wrong), pairs)


class Proxy(Handler):
    """A proxy of b from a: a learned token and a's tokens through one transformer layer, output 0.

    A missing modality b becomes one token, the mean of the proxies a -> b over the kept modalities a. With
    `proxy_encoder` pair there is a layer for each pair (COMPASS, arXiv 2604.02056); with source, a layer for each a,
    in place of a's own encoder, to whose tokens CMPT (arXiv 2501.17823) appends the proxy tokens: here encoders are
    frozen.

    `Handled.internals` is Proxies, or None where the model has a single modality.
    """

    reads = frozenset({"heads"})
    has_norm = True

    @dataclass(frozen=True)
    class Options:
        proxy_encoder: Literal["pair", "source"] = option("pair", "A layer for each pair (COMPASS) or source (CMPT).")
        proxy_dropout: Share = option(0.1, "Dropout of the proxy layers.")

    def __init__(self, shape: Shape, options: Options) -> None:
        super().__init__(shape, options)
        modalities, width = shape.modalities, shape.width
        self.per_pair = options.proxy_encoder == "pair"
        self.proxies = nn.ParameterList([learned(modalities, width) for _ in shape.tokens])  # [a][b]
        self.layers = nn.ModuleList(
            [
                nn.TransformerEncoderLayer(width, shape.heads, 2 * width, options.proxy_dropout, batch_first=True)
                for _ in range(modalities * modalities if self.per_pair else modalities)
            ]
        )

    def forward(self, tokens: list[torch.Tensor], masks: list[torch.Tensor], kept: torch.Tensor) -> Handled:
        modalities = len(tokens)
        if modalities == 1:
            return Handled(tokens, masks)
        out, out_masks, predicted, kept_sources = [], [], [], []
        for b in range(modalities):
            sources = [a for a in range(modalities) if a != b]
            proxies = torch.stack([self._proxy(a, b, tokens[a], masks[a]) for a in sources], dim=1)  # (B, M - 1, d)
            weights = kept[:, sources].to(proxies.dtype)
            mean = torch.einsum("bad,ba->bd", proxies, weights) / weights.sum(dim=1, keepdim=True).clamp_min(1.0)
            x, mask = in_first_place(tokens[b], masks[b], ~kept[:, b], mean)
            out.append(x)
            out_masks.append(mask)
            predicted.append(proxies)
            kept_sources.append(kept[:, sources])
        internals = Proxies(torch.stack(predicted, dim=1), torch.stack(kept_sources, dim=1))
        return Handled(out, out_masks, internals=internals)

    def permute(self, order: list[int]) -> None:
        count, old = len(order), self.layers
        self.proxies = nn.ParameterList([self.proxies[a][order] for a in order])
        if self.per_pair:
            self.layers = nn.ModuleList([old[order[a] * count + order[b]] for a in range(count) for b in range(count)])
        else:
            self.layers = nn.ModuleList([old[a] for a in order])

    def _proxy(self, a: int, b: int, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, n, d) tokens of a -> (B, d), its proxy of b."""
        token = self.proxies[a][b].expand(tokens.shape[0], 1, -1)
        padding = torch.cat([mask.new_zeros(mask.shape[0], 1), ~mask], dim=1)
        layer = self.layers[a * len(self.proxies) + b if self.per_pair else a]
        return layer(torch.cat([token, tokens], dim=1), src_key_padding_mask=padding)[:, 0]
