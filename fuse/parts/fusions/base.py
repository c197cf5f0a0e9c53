"""What a fusion is given and what it gives back."""

import dataclasses

import torch
from torch import nn

from mmcache.fuse.config import FuseConfig


@dataclasses.dataclass(frozen=True)
class Prompts:
    """Learned tokens for the layers of a transformer fusion.

    Attributes:
        rows: (B, L, P, d): P prompts for each of the first L layers.
        kind: input (put before the tokens, and kept) or attention (half before the keys, half before the values).
    """

    rows: torch.Tensor
    kind: str


@dataclasses.dataclass(frozen=True)
class Fused:
    """What a fusion gives its heads.

    Attributes:
        cls: (B, d) one vector for the whole segment, or None where a fusion has none.
        tokens: one (B, n_m, d) a modality; empty where a fusion keeps none.
        masks: one (B, n_m) bool a modality, true where there is a token.
    """

    cls: torch.Tensor | None
    tokens: list[torch.Tensor]
    masks: list[torch.Tensor]


class Fusion(nn.Module):
    """Base of all fusions."""

    def __init__(self, modalities: int, config: FuseConfig) -> None:
        super().__init__()

    def forward(self, tokens: list[torch.Tensor], masks: list[torch.Tensor], prompts: Prompts | None = None) -> Fused:
        """Mix the tokens.

        Args:
            tokens: one (B, n_m, d) a modality.
            masks: one (B, n_m) bool a modality; a modality without a token in a row is not there for that row.
            prompts: for the transformer alone.
        """
        raise NotImplementedError
