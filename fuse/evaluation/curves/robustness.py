"""Robustness to noise as one number (methods 1.7: MultiBench)."""

from collections.abc import Mapping, Sequence

import numpy as np

LEVELS = tuple(i / 10 for i in range(11))  # sigma


def relative_robustness(curve: Sequence[float], levels: Sequence[float] = LEVELS) -> float:
    """The trapezoid area under performance over the noise level; a constant curve c has c."""
    return float(np.trapezoid(np.asarray(curve, float), np.asarray(levels, float)))


def effective_robustness(curve: Sequence[float], late_fusion: Sequence[float]) -> float:
    """sum over levels of f - (LF + f(0) - LF(0)): what is kept beyond what late fusion keeps; of LF itself, 0."""
    f, reference = np.asarray(curve, float), np.asarray(late_fusion, float)
    return float((f - (reference + f[0] - reference[0])).sum())


def min_max(values: Mapping[str, float]) -> dict[str, float]:
    """Normalised across methods: the worst 0, the best 1; all 1 where they are equal."""
    low, high = min(values.values()), max(values.values())
    return {name: (value - low) / (high - low) if high > low else 1.0 for name, value in values.items()}
