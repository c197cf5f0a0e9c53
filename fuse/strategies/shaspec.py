"""shaspec: what modalities share stands in for the missing ones (ShaSpec, CVPR 2023)."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from mmcache.fuse.network.passes import Pass
from mmcache.fuse.options.fields import Weight, option
from mmcache.fuse.parts.fusions.transformer import Block
from mmcache.fuse.parts.handlers.base import Handled, Handler, in_first_place
from mmcache.fuse.parts.losses.shaspec import shared_loss, specific_loss
from mmcache.fuse.parts.part import Shape, permuted
from mmcache.fuse.parts.pooling import masked_mean
from mmcache.fuse.strategies.base import Citation, Strategy, Term, check_handler
from mmcache.store.ground.errors import Problems


@dataclass(frozen=True)
class Means:
    """Means of the two parts of every modality, over its true tokens, or over the blank ones of missing modalities too.

    Attributes:
        shared, specific: (B, M, d).
        counted: (B, M) bool, the modalities that the losses count.
    """

    shared: torch.Tensor
    specific: torch.Tensor
    counted: torch.Tensor


class SharedSpecific(Handler):
    """s_m = S(x_m) shared, e_m = E_m(x_m) specific; a kept modality becomes f_m = s_m + Proj([s_m, e_m]).

    A missing one has one token, a stand-in made of the means of the shared parts of kept modalities: their mean
    (`stand_in` mean; the paper is UNSURE for several) or the first of them (`stand_in` first, the official code).
    S and E_m are transformer blocks over frozen tokens. The losses count what is kept, or, with `auxiliary` all (the
    official code), the zeros of the rest too. `Handled.internals` is Means.
    """

    reads = Block.READS
    has_norm = True

    @dataclass(frozen=True)
    class Options:
        auxiliary: Literal["kept", "all"] = option(
            "kept", "The losses count kept modalities, or missing ones too (code)."
        )
        stand_in: Literal["mean", "first"] = option(
            "mean", "The mean of the shared parts, or the first of them (code)."
        )

    def __init__(self, shape: Shape, options: Options) -> None:
        super().__init__(shape, options)
        self.first, self.all = options.stand_in == "first", options.auxiliary == "all"
        self.shared = Block(shape)
        self.specific = nn.ModuleList([Block(shape) for _ in shape.tokens])
        self.join = nn.Linear(2 * shape.width, shape.width)
        self.which = nn.Linear(shape.width, shape.modalities)

    def forward(self, tokens: list[torch.Tensor], masks: list[torch.Tensor], kept: torch.Tensor) -> Handled:
        # A row without any key would have no softmax; its result is never read.
        attended = [mask | ~kept[:, m, None] for m, mask in enumerate(masks)]
        shared = [self.shared(x, mask) for x, mask in zip(tokens, attended, strict=True)]
        specific = [e(x, mask) for e, x, mask in zip(self.specific, tokens, attended, strict=True)]
        stand_in = self._stand_in(_means(shared, masks), kept)
        out, out_masks = [], []
        for m, (s, e) in enumerate(zip(shared, specific, strict=True)):
            x, mask = in_first_place(s + self.join(torch.cat([s, e], dim=-1)), masks[m], ~kept[:, m], stand_in)
            out.append(x)
            out_masks.append(mask)
        counted = attended if self.all else masks
        means = Means(_means(shared, counted), _means(specific, counted), torch.ones_like(kept) if self.all else kept)
        return Handled(out, out_masks, internals=means)

    @torch.no_grad()
    def permute(self, order: list[int]) -> None:
        self.specific = permuted(self.specific, order)
        self.which.weight.copy_(self.which.weight[order])
        self.which.bias.copy_(self.which.bias[order])

    @torch.no_grad()
    def neutralise(self) -> None:
        """The shared encoder leaves tokens as they are, and nothing is specific."""
        for layer in (self.shared.out, self.shared.mlp[-1], self.join):
            layer.weight.zero_()  # type: ignore[operator]
            layer.bias.zero_()  # type: ignore[operator]

    def _stand_in(self, means: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        """(B, M, d) means of the shared parts -> (B, d)."""
        used = kept & (kept.cumsum(dim=1) == 1) if self.first else kept
        weights = used.to(means.dtype)
        return torch.einsum("bmd,bm->bd", means, weights) / weights.sum(dim=1, keepdim=True).clamp_min(1.0)


def _means(parts: list[torch.Tensor], masks: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack([masked_mean(x, mask) for x, mask in zip(parts, masks, strict=True)], dim=1)


class ShaSpec(Strategy):
    """A shared encoder sees every modality, a specific one each; the shared parts stand in for the missing ones.

    The loss is CE + 0.1 L1 between the shared parts of cyclic pairs + 0.02 CE of telling the modality from its specific
    part. After a warm-up with everything, one set of modalities is drawn a batch.

    The paper segments images with SGD; here the encoders are transformer blocks over frozen tokens, and AdamW trains
    them.
    """

    about = "shared and specific parts of every modality; the shared ones stand in for what is missing"
    cite = Citation(
        "Wang, Hu and Chen, Yuanhong and Ma, Congbo and Avery, Jodie and Hull, Louise and Carneiro, Gustavo",
        "Multi-Modal Learning With Missing Modality via Shared-Specific Feature Modelling",
        "CVPR",
        2023,
        arxiv="2307.14126",
    )
    control = "moddrop"
    handlers = {"shaspec": SharedSpecific}
    idea = {"handler": "shaspec"}
    published = {"head": "linear", "sampler": "uniform_set_a_batch", "full_share": 0.1}

    @dataclass(frozen=True)
    class Options:
        shared: Weight = option(0.1, "Weight of the L1 distance between shared parts.", weight=True)
        specific: Weight = option(0.02, "Weight of telling the modality from its specific part.", weight=True)

    @classmethod
    def check(cls, options: Any, problems: Problems) -> None:
        for loss in ("shared", "specific"):
            check_handler(loss, "shaspec", options, problems)

    def terms(self) -> list[Term]:
        own = self.own
        terms = [self.cross_entropy(), Term("shared", _shared, own.shared), Term("specific", _specific, own.specific)]
        return [term for term in terms if term.weight > 0]


def _shared(step: Pass) -> torch.Tensor:
    means = step.handled.internals
    return shared_loss(means.shared, means.counted)


def _specific(step: Pass) -> torch.Tensor:
    means = step.handled.internals
    with step.in_autocast():
        logits = step.model.handler.which(means.specific)  # type: ignore[operator]
    return specific_loss(logits, means.counted)
