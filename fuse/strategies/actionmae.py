"""actionmae: reconstruct the vector of a missing modality from the others (ActionMAE, AAAI 2023)."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from mmcache.fuse.network.passes import Pass
from mmcache.fuse.options.fields import Count, Weight, Whole, option
from mmcache.fuse.parts.handlers.base import Handled, Handler, in_first_place, learned
from mmcache.fuse.parts.losses.reconstruction import reconstruction
from mmcache.fuse.parts.part import Shape
from mmcache.fuse.parts.pooling import encoder_stack, masked_mean
from mmcache.fuse.strategies.base import Citation, Strategy, Term, check_handler
from mmcache.store.ground.errors import Problems


class Autoencoder(Handler):
    """One vector z_m a modality; an encoder and a decoder of transformer layers fill the gaps.

    The encoder reads [memory | kept z + position]; a learned dummy stands in each missing slot; positions are added
    again; the decoder's output in a missing slot stands for its modality, kept modalities keep their own tokens. A
    modality of several tokens is read through their mean, and its reconstruction is one token. Layers are pre-norm, as
    in the paper's equations 3 and 4. `Handled.internals` is the decoder's slots, (B, M, d).

    Where the official code differs from the paper, an option says so: `rec_slots`, `rec_complete`, `rec_positions`,
    `rec_order`, `rec_end`, `memory`, and `block_norm` post.
    """

    reads = frozenset({"heads", "ffn_ratio", "dropout", "block_norm"})
    has_norm = True

    @dataclass(frozen=True)
    class Options:
        autoencoder_depth: Count = option(2, "Layers of the encoder and of the decoder.")
        memory: Whole = option(1, "Memory tokens; 0 is the paper's table 7a.")
        rec_slots: Literal["missing", "all"] = option(
            "missing", "The decoder's output stands for missing modalities, or for all (code)."
        )
        rec_complete: Literal["originals", "encoder"] = option(
            "originals", "A complete segment is fed as it is, or as the encoder's first places (code)."
        )
        rec_positions: bool = option(True, "Positions of the modalities; false in the code.")
        rec_order: Literal["restored", "packed"] = option(
            "restored", "At test, slots in their places, or packed, kept ones first (code)."
        )
        rec_end: Literal["none", "linear"] = option(
            "none", "After the decoder: nothing, or LayerNorm and a linear (code)."
        )

    @classmethod
    def check(cls, options: Any, problems: Problems) -> None:
        if options.handler.rec_order == "packed" and options.handler.rec_slots != "all":
            problems.add("rec_order packed needs rec_slots all: kept modalities that are fed as they are have no order")

    def __init__(self, shape: Shape, options: Options) -> None:
        super().__init__(shape, options)
        width = shape.width
        self.own = options
        self.memory, self.dummy = learned(1, options.memory, width), learned(width)
        stack = (width, options.autoencoder_depth, shape.heads, shape.hidden, shape.dropout, shape.block_norm)
        self.encoder, self.decoder = encoder_stack(*stack), encoder_stack(*stack)
        self.end = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width)) if options.rec_end == "linear" else None
        self.register_buffer("slots", (1.0 if options.rec_positions else 0.0) * sinusoid(shape.modalities, width))

    slots: torch.Tensor

    def forward(self, tokens: list[torch.Tensor], masks: list[torch.Tensor], kept: torch.Tensor) -> Handled:
        own = self.own
        vectors = torch.stack([masked_mean(x, mask) for x, mask in zip(tokens, masks, strict=True)], dim=1)  # (B, M, d)
        decoded, encoded = self._decode(vectors, kept)
        everything = kept.all(dim=1)
        out, out_masks = [], []
        for m in range(len(tokens)):
            use = ~kept[:, m] if own.rec_slots == "missing" else ~everything
            x, mask = in_first_place(tokens[m], masks[m], use, decoded[:, m])
            if own.rec_complete == "encoder":
                x, mask = in_first_place(x, mask, everything, encoded[:, m])
            out.append(x)
            out_masks.append(mask)
        return Handled(out, out_masks, internals=decoded)

    def permute(self, order: list[int]) -> None:
        self.slots.copy_(self.slots[order])

    def _decode(self, vectors: torch.Tensor, kept: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, M, d) vectors -> the decoder's slots (B, M, d), and the encoder's first M places."""
        batch, modalities, _ = vectors.shape
        memory = self.memory.expand(batch, -1, -1)
        count = memory.shape[1]
        padding = torch.cat([kept.new_zeros(batch, count), ~kept], dim=1)
        encoded = self.encoder(torch.cat([memory, vectors + self.slots], dim=1), src_key_padding_mask=padding)
        slots = torch.where(kept[..., None], encoded[:, count:], self.dummy)
        if self.own.rec_order == "packed" and not self.training:
            order = (~kept).long().argsort(dim=1, stable=True)
            slots = slots.gather(1, order[..., None].expand_as(slots))
        decoded = self.decoder(torch.cat([encoded[:, :count], slots + self.slots], dim=1))[:, count:]
        return decoded if self.end is None else self.end(decoded), encoded[:, :modalities]


def sinusoid(count: int, width: int) -> torch.Tensor:
    """(count, width): the fixed sine and cosine positions of the first transformer."""
    angles = torch.arange(count)[:, None] / 10000 ** (torch.arange(0, width, 2) / width)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :width]


class ActionMae(Strategy):
    """Each modality becomes one vector, the class token of a 2-layer transformer over its tokens.

    An encoder and a decoder of 2 layers predict the vectors of missing modalities, which take their place in the
    fusion; kept ones are fed as they are. The loss is CE + the mean squared error over what was dropped. How many
    modalities are kept is drawn once a batch, which of them for every segment.

    The target is detached (ours: frozen encoders make a trivial target of it otherwise) unless `rec_target` is
    standardised, as in the code. The paper trains its encoders too; here they are frozen and the pooling transformers
    are what is trained in their place. The depth of the paper's fusion is not stated: 2 here; its code has 4. Its
    learning rate falls to a tenth every 30 epochs; here along a cosine.
    """

    about = "reconstruct missing modalities from the others, with a masked autoencoder over modalities"
    cite = Citation(
        "Woo, Sangmin and Lee, Sumin and Park, Yeonju and Nugroho, Muhammad Adi and Kim, Changick",
        "Towards Good Practices for Missing Modality Robust Action Recognition",
        "AAAI",
        2023,
        arxiv="2211.13916",
    )
    control = "dropout"
    handlers = {"reconstruct": Autoencoder}
    idea = {"handler": "reconstruct"}
    published = {
        "pool": "transformer",
        "head": "linear",
        "depth": 2,
        "sampler": "uniform_count_a_batch",
        "label_smoothing": 0.1,
        "weight_decay": 1e-4,
    }

    @dataclass(frozen=True)
    class Options:
        reconstruction: Weight = option(1.0, "Weight of the squared error of what was dropped.", weight=True)
        rec_target: Literal["raw", "standardised"] = option(
            "raw", "The real vector, detached; or standardised and with gradient (code)."
        )

    @classmethod
    def check(cls, options: Any, problems: Problems) -> None:
        check_handler("reconstruction", "reconstruct", options, problems)

    def terms(self) -> list[Term]:
        own = self.own
        if own.reconstruction == 0:
            return [self.cross_entropy()]
        reads = "complete" if own.rec_target == "standardised" else "targets"
        return [self.cross_entropy(), Term("reconstruction", self._error, own.reconstruction, reads=reads)]

    def _error(self, step: Pass) -> torch.Tensor:
        standardised = self.own.rec_target == "standardised"
        return reconstruction(step.handled.internals, step.real_means(), step.hidden(), standardised=standardised)
