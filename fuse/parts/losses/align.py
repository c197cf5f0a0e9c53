"""align: the modalities of one clip near each other, those of other clips far (MMG-Ego4D)."""

from dataclasses import dataclass

import torch
from torch.nn import functional

from mmcache.fuse.options.fields import Positive, Weight, option


@dataclass(frozen=True)
class AlignOptions:
    """Contrastive alignment of modalities."""

    align: Weight = option(0.0, "Weight of InfoNCE between modalities.", weight=True)
    align_temperature: Positive = option(0.07, "Temperature of InfoNCE.")
    anchor: str | None = option(None, "Modality that the others are aligned to; rgb, else the first.")

    def anchor_among(self, names: list[str]) -> str:
        """The modality that the others are aligned to."""
        return self.anchor or ("rgb" if "rgb" in names else names[0])


def align(vectors: torch.Tensor, present: torch.Tensor, anchor: int, temperature: float) -> torch.Tensor:
    """The sum over modalities m of InfoNCE(anchor, m), each averaged over the segments that have both.

    -log(e^{v.m/tau} / (e^{v.m/tau} + sum over the other segments' m' of e^{v.m'/tau})), of L2-normalised vectors.
    The temperature and the weight of the loss are UNSURE in the paper.

    Args:
        vectors: (B, M, d), one a modality.
        present: (B, M) bool.
        anchor: the modality v.
    """
    total = vectors.new_zeros((), dtype=torch.float32)
    there = present[..., None]
    unit = functional.normalize(torch.where(there, vectors.float(), torch.zeros_like(total)), dim=-1)
    same = torch.arange(len(vectors), device=vectors.device)
    for m in range(vectors.shape[1]):
        if m == anchor:
            continue
        both = present[:, anchor] & present[:, m]
        similarity = (unit[:, anchor] @ unit[:, m].T / temperature).masked_fill(~both[None], -torch.inf)
        losses = functional.cross_entropy(
            torch.where(both[:, None], similarity, torch.zeros_like(total)), same, reduction="none"
        )
        counts = both & (both.sum() > 1)  # a segment alone has no other to be told from
        total = total + torch.where(counts, losses, torch.zeros_like(losses)).sum() / both.sum().clamp_min(1)
    return total
