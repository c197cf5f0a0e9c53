"""Summaries over all subsets, of one run or of several (methods 1.3)."""

from collections.abc import Mapping, Sequence

import numpy as np

from mmcache.fuse.evaluation.curves.correct import Correct, accuracy, full_subset


def summary(correct: Correct) -> dict[str, float | None]:
    """Mean accuracy over all subsets, relative drop and difference over proper ones.

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


def average_ranks(accuracies: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The rank of each method within every subset (1 = best, ties share the mean rank), averaged over the subsets.

    Args:
        accuracies: method -> subset -> percent; subsets that a method has not are left out for all.
    """
    from scipy.stats import rankdata  # scipy.stats takes a second to load

    shared = set.intersection(*(set(values) for values in accuracies.values()))
    if not shared:
        return {}
    table = np.array([[values[name] for name in sorted(shared)] for values in accuracies.values()])  # (K, S)
    ranks = rankdata(-table, method="average", axis=0).mean(axis=1)
    return dict(zip(accuracies, ranks.tolist(), strict=True))


def spread(values: Sequence[float]) -> dict[str, float | int | None]:
    """Mean and standard deviation (n - 1) over runs that differ in their seed alone."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "std": deviation, "runs": len(values)}
