"""align: the modalities of one clip near each other, those of other clips far (MMG-Ego4D)."""

import torch
from torch.nn import functional


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
    unit = functional.normalize(vectors.float(), dim=-1)
    for m in range(vectors.shape[1]):
        both = (present[:, anchor] & present[:, m]).nonzero().squeeze(1)
        if m == anchor or len(both) < 2:  # a segment alone has no other to be told from
            continue
        similarity = unit[both, anchor] @ unit[both, m].T / temperature
        total = total + functional.cross_entropy(similarity, torch.arange(len(both), device=both.device))
    return total
