"""One pass through a model: encode, handle missing modalities, fuse, classify; and what a loss term can read of it."""

import dataclasses
from typing import TYPE_CHECKING

import torch

from mmcache.fuse.parts.fusions import Fused
from mmcache.fuse.parts.handlers import Handled
from mmcache.fuse.parts.heads import Outputs
from mmcache.fuse.parts.pooling import masked_mean

if TYPE_CHECKING:
    from mmcache.fuse.network.model import Model


@dataclasses.dataclass(frozen=True)
class Encoded:
    """Projected (and pooled) tokens of the modalities that are looked at.

    Attributes:
        tokens: one (B, n_m, d) a modality; rows that are not seen are the projector's answer to zeros.
        masks: one (B, n_m) bool a modality: the true tokens of rows that are seen.
        seen: (B, M) bool.
    """

    tokens: list[torch.Tensor]
    masks: list[torch.Tensor]
    seen: torch.Tensor

    def means(self) -> torch.Tensor:
        """(B, M, d), the mean token of every modality."""
        return torch.stack([masked_mean(x, mask) for x, mask in zip(self.tokens, self.masks, strict=True)], dim=1)


@dataclasses.dataclass(frozen=True)
class Sample:
    """What the loss terms read of one batch: tensors and nothing else, so that those of several runs can be stacked.

    Attributes:
        tokens: modality -> (B, T, D).
        lengths: modality -> (B,) true token counts.
        present: (B, M) bool.
        kept: (B, M) bool, within what is present.
        labels: task -> (B,) int64, -1 where unlabelled.
        given: what the terms asked for before the pass, such as logits of teachers, by names of theirs.
    """

    tokens: dict[str, torch.Tensor]
    lengths: dict[str, torch.Tensor]
    present: torch.Tensor
    kept: torch.Tensor
    labels: dict[str, torch.Tensor]
    given: dict[str, torch.Tensor]


@dataclasses.dataclass(frozen=True)
class Pass:
    """One pass in training.

    Attributes:
        complete: the encoding of all that is present, kept or not, where a term reads it; with gradient where one
            asks for it.
        autocast: whether matrix products run in bfloat16.
    """

    model: "Model"
    sample: Sample
    handled: Handled
    fused: Fused
    outputs: Outputs
    complete: Encoded | None
    autocast: bool

    def real_means(self) -> torch.Tensor:
        """(B, M, d), the mean token of every modality that is present."""
        assert self.complete is not None, "the term does not say that it reads the complete encoding"
        return self.complete.means()

    def hidden(self) -> torch.Tensor:
        """(B, M) bool: the modalities that are present and were not kept."""
        return self.sample.present & ~self.sample.kept

    def in_autocast(self) -> torch.autocast:
        """For terms that run a network of their own as the model's is run."""
        return torch.autocast(self.sample.present.device.type, torch.bfloat16, enabled=self.autocast)
