"""What a handler of missing modalities is given and what it gives back.

A handler gets tokens whose absent rows are already blank (zero before the projector), so nothing of an absent modality
can reach a model, not even as NaN.
"""

import dataclasses
from typing import Any, ClassVar

import torch
from torch import nn

from mmcache.fuse.parts.fusions.base import Prompts
from mmcache.fuse.parts.part import PartModule, Shape


@dataclasses.dataclass(frozen=True)
class Handled:
    """The tokens of every modality, missing ones handled.

    Attributes:
        tokens: one (B, n_m, d) a modality.
        masks: one (B, n_m) bool a modality, true where there is a token.
        prompts: prompts for the layers of the fusion, if the handler has any.
        internals: what the loss terms of a strategy read of its handler; each handler says what it is.
    """

    tokens: list[torch.Tensor]
    masks: list[torch.Tensor]
    prompts: Prompts | None = None
    internals: Any = None


class Handler(PartModule):
    """Base of all handlers.

    Attributes:
        leaves_out: whether a missing modality may be given without tokens, since it gets none.
    """

    leaves_out: ClassVar[bool] = False

    def __init__(self, shape: Shape, options: Any) -> None:
        super().__init__()

    def forward(self, tokens: list[torch.Tensor], masks: list[torch.Tensor], kept: torch.Tensor) -> Handled:
        """Handle what is not kept.

        Args:
            tokens: one (B, n_m, d) a modality, after the projector; rows that are not kept are its answer to zeros.
            masks: one (B, n_m) bool a modality: the true tokens of kept rows, nothing of the others.
            kept: (B, M) bool.
        """
        raise NotImplementedError

    def neutralise(self) -> None:
        """Take the parameters with which complete segments pass unchanged; most handlers have no others."""


def learned(*shape: int) -> nn.Parameter:
    """A learned token, drawn with standard deviation 0.02."""
    return nn.Parameter(torch.randn(shape) * 0.02)


def occupied(masks: list[torch.Tensor], kept: torch.Tensor) -> list[torch.Tensor]:
    """The masks of a handler that puts a token in every place of a missing modality."""
    return [mask | ~kept[:, m, None] for m, mask in enumerate(masks)]


def in_first_place(
    tokens: torch.Tensor, mask: torch.Tensor, use: torch.Tensor, vector: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens (B, n, d) and mask (B, n) in which the rows of `use` (B,) have one token instead: vector (B, d)."""
    alone = torch.cat([vector[:, None], torch.zeros_like(tokens[:, 1:])], dim=1)
    first = torch.arange(mask.shape[1], device=mask.device) == 0
    use = use[:, None]
    # Masks by and/or: a model may be exported, and ONNX Runtime has no `where` of bools.
    return torch.where(use[..., None], alone, tokens), (use & first) | (~use & mask)
