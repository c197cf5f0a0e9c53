"""What a fill is given and what it gives back.

A fill gets tokens whose absent rows are already blank (zero before the projector), so nothing of an absent
modality can reach a model, not even as NaN.
"""

import dataclasses

import torch
from torch import nn

from mmcache.fuse.config import FuseConfig
from mmcache.fuse.parts.fusions.base import Prompts


@dataclasses.dataclass(frozen=True)
class Targets:
    """What is really there but was not kept: what a fill may learn from in training, and never predict from.

    Attributes:
        tokens: one (B, n_m, d) a modality.
        masks: one (B, n_m) bool a modality.
        known: (B, M) bool, present and not kept.
    """

    tokens: list[torch.Tensor]
    masks: list[torch.Tensor]
    known: torch.Tensor


@dataclasses.dataclass(frozen=True)
class Filled:
    """What a fusion is fed.

    Attributes:
        tokens: one (B, n_m, d) a modality.
        masks: one (B, n_m) bool a modality, true where there is a token.
        losses: name -> scalar, in training only.
        prompts: what goes into the fusion's layers, if anything.
    """

    tokens: list[torch.Tensor]
    masks: list[torch.Tensor]
    losses: dict[str, torch.Tensor] = dataclasses.field(default_factory=dict)
    prompts: Prompts | None = None


class Fill(nn.Module):
    """Base of all fills.

    Attributes:
        wants_targets: whether it learns from what is present but not kept.
        leaves_out: whether what is missing may as well come without tokens.
    """

    wants_targets = False
    leaves_out = False

    def __init__(self, tokens: list[int], config: FuseConfig) -> None:
        super().__init__()

    def forward(
        self, tokens: list[torch.Tensor], masks: list[torch.Tensor], kept: torch.Tensor, targets: Targets | None = None
    ) -> Filled:
        """Fill what is not kept.

        Args:
            tokens: one (B, n_m, d) a modality, after the projector; rows not kept are its answer to zeros.
            masks: one (B, n_m) bool a modality: the true tokens of rows kept, nothing of the others.
            kept: (B, M) bool.
            targets: given in training alone; None = no losses either.
        """
        raise NotImplementedError


def learned(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape) * 0.02)


def occupied(masks: list[torch.Tensor], kept: torch.Tensor) -> list[torch.Tensor]:
    """The masks of a fill that puts a token in every place of what is not kept."""
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
