"""The nonempty subsets of M modalities: as masks, as numbers, as names."""

import numpy as np
from numpy.typing import NDArray

NATURAL = "natural"  # the "subset" of segments that lack modalities by nature: whatever they have


def subsets(modalities: int) -> NDArray[np.bool_]:
    """(2^M - 1, M): every nonempty subset, row i being the bits of i + 1 (bit j = modality j)."""
    numbers = np.arange(1, 2**modalities)
    return (numbers[:, None] >> np.arange(modalities)) & 1 == 1


def subset_index(keep: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(n, M) masks -> (n,) their row in `subsets`, -1 for the empty one."""
    return keep.astype(np.int64) @ (1 << np.arange(keep.shape[1])) - 1


def subset_name(mask: NDArray[np.bool_], modalities: list[str]) -> str:
    """The kept modalities, sorted and joined by '+'."""
    return "+".join(sorted(name for name, kept in zip(modalities, mask, strict=True) if kept))
