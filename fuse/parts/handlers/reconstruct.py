"""reconstruct: predict the vector of what is missing from what is there (ActionMAE)."""

import torch
from torch import nn

from mmcache.fuse.config import FuseConfig
from mmcache.fuse.network.pooling import encoder_stack, masked_mean
from mmcache.fuse.parts.handlers.base import Fill, Filled, Targets, in_first_place, learned
from mmcache.fuse.parts.losses.reconstruction import reconstruction


def sinusoid(count: int, width: int) -> torch.Tensor:
    """(count, width): the fixed sine and cosine positions of the first transformer."""
    angles = torch.arange(count)[:, None] / 10000 ** (torch.arange(0, width, 2) / width)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :width]


class ReconstructFill(Fill):
    """ActionMAE (AAAI 2023): one vector z_m a modality; an encoder and a decoder of transformer layers fill the gaps.

    The encoder reads [memory | kept z + position]; a learned dummy stands in each missing slot; positions are added
    again; the decoder's output in a missing slot stands for its modality, kept modalities keep their own tokens.
    A modality of several tokens is read through their mean, and its reconstruction is one token.

    Where the official code differs from the paper, an option says so: `rec_slots` all (the decoder's output stands
    for kept slots too), `rec_complete` encoder (a segment that has everything is fed the first M places of the
    encoder, memory first), `rec_positions` false, `rec_order` packed (at test, kept slots come first and stay there),
    `rec_target` standardised, `memory`, `rec_end` linear, `block_norm` post. The target is detached (ours: frozen
    encoders make a trivial target of it otherwise) unless `rec_target` is standardised, as in the code.
    """

    wants_targets = True

    def __init__(self, tokens: list[int], config: FuseConfig) -> None:
        super().__init__(tokens, config)
        width, hidden = config.width, int(config.width * config.ffn_ratio)
        self.config = config
        self.memory, self.dummy = learned(1, config.memory, width), learned(width)
        shape = (width, config.fill_depth, config.heads, hidden, config.dropout, config.block_norm)
        self.encoder, self.decoder = encoder_stack(*shape), encoder_stack(*shape)
        self.end = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width)) if config.rec_end == "linear" else None
        scale = 1.0 if config.rec_positions else 0.0
        self.register_buffer("slots", scale * sinusoid(len(tokens), width))

    slots: torch.Tensor

    def forward(
        self, tokens: list[torch.Tensor], masks: list[torch.Tensor], kept: torch.Tensor, targets: Targets | None = None
    ) -> Filled:
        config = self.config
        vectors = torch.stack([masked_mean(x, mask) for x, mask in zip(tokens, masks, strict=True)], dim=1)  # (B, M, d)
        decoded, encoded = self._decode(vectors, kept)
        everything = kept.all(dim=1)
        out, out_masks = [], []
        for m in range(len(tokens)):
            use = ~kept[:, m] if config.rec_slots == "missing" else ~everything
            x, mask = in_first_place(tokens[m], masks[m], use, decoded[:, m])
            if config.rec_complete == "encoder":
                x, mask = in_first_place(x, mask, everything, encoded[:, m])
            out.append(x)
            out_masks.append(mask)
        losses = {}
        if targets is not None:
            real = torch.stack([masked_mean(x, mask) for x, mask in zip(targets.tokens, targets.masks, strict=True)], 1)
            losses["reconstruction"] = reconstruction(
                decoded, real, targets.known, standardised=config.rec_target == "standardised"
            )
        return Filled(out, out_masks, losses)

    def _decode(self, vectors: torch.Tensor, kept: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, M, d) vectors -> the decoder's slots (B, M, d), and the encoder's first M places."""
        batch, modalities, _ = vectors.shape
        memory = self.memory.expand(batch, -1, -1)
        count = memory.shape[1]
        padding = torch.cat([kept.new_zeros(batch, count), ~kept], dim=1)
        encoded = self.encoder(torch.cat([memory, vectors + self.slots], dim=1), src_key_padding_mask=padding)
        slots = torch.where(kept[..., None], encoded[:, count:], self.dummy)
        if self.config.rec_order == "packed" and not self.training:
            order = (~kept).long().argsort(dim=1, stable=True)
            slots = slots.gather(1, order[..., None].expand_as(slots))
        decoded = self.decoder(torch.cat([encoded[:, :count], slots + self.slots], dim=1))[:, count:]
        return decoded if self.end is None else self.end(decoded), encoded[:, :modalities]
