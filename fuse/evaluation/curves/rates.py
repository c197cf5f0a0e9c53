"""Accuracy when a share of the segments is incomplete (methods 1.1: MMT, MiDl; 1.5: MAP).

Nested: one permutation a seed, and segment i is incomplete at rate r iff rank(i) < round(r n), so the segments that
are incomplete at 25 % are among those at 50 %.
"""

import numpy as np
from numpy.typing import NDArray

from mmcache.fuse.evaluation.curves.correct import Correct, accuracy, full_subset, parts

RATES = (0, 25, 50, 75, 100)  # percent
PATTERN_RATES = (0, 25, 50, 70, 75, 100)  # with MAP's 70 %


def missing_ranks(n: int, seed: int = 0) -> NDArray[np.int64]:
    """(n,) segments in the order of their ids -> when each becomes incomplete as the rate rises."""
    return np.random.default_rng((seed, n)).permutation(n)


def missing_rate_curve(
    correct: Correct, modality: str, seed: int = 0, natural: NDArray[np.bool_] | None = None
) -> dict[str, float]:
    """Accuracy when r percent of the segments lack `modality`: rate -> percent.

    Args:
        natural: (k,) whether segments that are incomplete by nature are right, seen with what they have. They count
            as incomplete at every rate (MMT on Ego4D-AR): the curve begins at the rate that nature gives, and rates
            below it are left out. None = complete segments alone are counted.
    """
    full = full_subset(correct)
    without = "+".join(sorted(parts(full) - {modality}))
    rank = missing_ranks(len(correct[full]), seed)
    fixed = np.zeros(0, bool) if natural is None else natural
    n = len(rank) + len(fixed)
    begins = [str(round(100 * len(fixed) / n))] if len(fixed) else []
    taken = {rate: len(fixed) for rate in begins}  # segments that are incomplete at each rate
    taken |= {str(r): count for r in RATES if (count := round(r * n / 100)) >= len(fixed)}
    return {
        rate: accuracy(np.concatenate([np.where(rank < count - len(fixed), correct[without], correct[full]), fixed]))
        for rate, count in taken.items()
    }


def pattern_curve(correct: Correct, seed: int = 0) -> dict[str, float]:
    """Accuracy when r percent lack one modality each, all modalities equally often (MAP's type `both`)."""
    full = full_subset(correct)
    names = sorted(parts(full))
    if len(names) == 1:
        return {}
    lacking = np.stack([correct["+".join(n for n in names if n != lost)] for lost in names])  # (M, n)
    rank = missing_ranks(len(correct[full]), seed)
    n = len(rank)
    # In the order of ranks the lost modality goes round, so that at every rate each is lost equally often.
    incomplete = lacking[rank % len(names), np.arange(n)]
    return {str(r): accuracy(np.where(rank < round(r * n / 100), incomplete, correct[full])) for r in PATTERN_RATES}
