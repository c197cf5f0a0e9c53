"""Every evaluation protocol, derived from correctness per segment and subset by indexing alone.

`correct` maps each of the 2^M - 1 subsets (by name) to an (n,) bool array over the same n segments, all of which
have every modality. Accuracies are in percent.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

RATES = (0, 25, 50, 75, 100)  # percent of segments that miss the nominated modality (MMT, MiDl)
DROPS = tuple(range(0, 100, 10))  # percent chance that each modality is missing (KARMMA, Fig. 4)
Correct = Mapping[str, NDArray[np.bool_]]


def parts(subset: str) -> frozenset[str]:
    return frozenset(subset.split("+"))


def full_subset(correct: Correct) -> str:
    """The name of the subset with every modality."""
    return max(correct, key=lambda name: len(parts(name)))


def accuracy(correct: NDArray[np.bool_]) -> float:
    return float(100.0 * correct.mean())


def missing_rate_curve(correct: Correct, modality: str, seed: int = 0) -> dict[str, float]:
    """Accuracy when r percent of the segments lack `modality` (methods 1.1): rate -> percent.

    Nested: one permutation a seed, and segment i is missing at rate r iff rank(i) < round(r n), so the segments
    missing at 25 % are among those missing at 50 %.
    """
    full = full_subset(correct)
    without = "+".join(sorted(parts(full) - {modality}))
    n = len(correct[full])
    rank = np.random.default_rng((seed, n)).permutation(n)
    return {str(r): accuracy(np.where(rank < round(r * n / 100), correct[without], correct[full])) for r in RATES}


def drop_curve(correct: Correct) -> dict[str, float]:
    """Expected accuracy when each modality is missing with probability p (methods 1.2), in closed form.

    E acc(p) = sum_S (1-p)^|S| p^(M-|S|) Acc(S) + p^M mean_m Acc({m}): where all would be gone, one stays at random.
    """
    total = len(parts(full_subset(correct)))
    single = np.mean([accuracy(values) for name, values in correct.items() if len(parts(name)) == 1])
    curve = {}
    for percent in DROPS:
        p = percent / 100.0
        expected = p**total * single
        for name, values in correct.items():
            size = len(parts(name))
            expected += (1 - p) ** size * p ** (total - size) * accuracy(values)
        curve[str(percent)] = float(expected)
    return curve


def summary(correct: Correct) -> dict[str, float | None]:
    """The summaries of methods 1.3: mean accuracy over all subsets, relative drop and difference over proper ones.

    None where there is no proper subset, or where a relative drop would be one from zero.
    """
    full = full_subset(correct)
    top = accuracy(correct[full])
    proper = [accuracy(values) for name, values in correct.items() if name != full]
    return {
        "avg_acc": float(np.mean([top, *proper])),
        "avg_rel_drop": float(np.mean([100.0 * (top - value) / top for value in proper])) if proper and top else None,
        "mean_delta": float(np.mean([value - top for value in proper])) if proper else None,
    }
