"""What a fusion is given and what it gives back."""

import dataclasses
from typing import Any, ClassVar

import torch

from mmcache.fuse.parts.part import PartModule, Shape


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


class Fusion(PartModule):
    """Base of all fusions.

    Attributes:
        keeps_tokens: whether `Fused` has tokens, not one vector alone.
        takes_prompts: whether its layers take prompts.
        has_cls: whether `Fused` has a class token beside the tokens of the modalities.
    """

    keeps_tokens: ClassVar[bool] = True
    takes_prompts: ClassVar[bool] = False
    has_cls: ClassVar[bool] = False

    def __init__(self, shape: Shape, options: Any) -> None:
        super().__init__()

    def forward(self, tokens: list[torch.Tensor], masks: list[torch.Tensor], prompts: Prompts | None = None) -> Fused:
        """Mix the tokens.

        Args:
            tokens: one (B, n_m, d) a modality.
            masks: one (B, n_m) bool a modality; a modality without a token in a row is missing in that row.
            prompts: given only to fusions that take prompts.
        """
        raise NotImplementedError
