"""Confidence intervals by resampling segments."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcache.fuse.evaluation.curves import Correct, full_subset

LEVEL = 95  # percent
DRAWS = 1000
_AT_ONCE = 50  # draws: bounds the memory


def resampled(correct: Correct, draws: int = DRAWS, seed: int = 0) -> dict[str, NDArray[np.float64]]:
    """Subset -> (draws,) accuracies of resampled segments, the same ones for every subset."""
    table = np.stack(list(correct.values()), axis=1).astype(np.float32)  # (n, S)
    n = len(table)
    random = np.random.default_rng((seed, n))
    out = np.empty((draws, table.shape[1]))
    for start in range(0, draws, _AT_ONCE):
        count = min(_AT_ONCE, draws - start)
        taken = random.integers(0, n, (count, n)) + n * np.arange(count)[:, None]
        weights = np.bincount(taken.ravel(), minlength=count * n).reshape(count, n).astype(np.float32)
        out[start : start + count] = 100.0 * (weights @ table) / n
    return dict(zip(correct, out.T, strict=True))


def intervals(correct: Correct, draws: int = DRAWS, seed: int = 0) -> dict[str, Any]:
    """95 % intervals of the accuracy of every subset, and of the summaries over them."""
    drawn = resampled(correct, draws, seed)
    full = drawn[full_subset(correct)]
    proper = np.array([values for name, values in drawn.items() if name != full_subset(correct)])
    out: dict[str, Any] = {
        "level": LEVEL,
        "subsets": {name: _interval(values) for name, values in sorted(drawn.items())},
        "avg_acc": _interval(np.mean(list(drawn.values()), axis=0)),
    }
    if len(proper):
        out["mean_delta"] = _interval((proper - full).mean(axis=0))
        if (full > 0).all():
            out["avg_rel_drop"] = _interval((100.0 * (full - proper) / full).mean(axis=0))
    return out


def _interval(values: NDArray[np.float64]) -> list[float]:
    tail = (100 - LEVEL) / 2
    return [float(value) for value in np.percentile(values, [tail, 100 - tail])]
