"""Expected calibration error: how far confidence is from accuracy (Guo et al., ICML 2017)."""

import numpy as np
from numpy.typing import NDArray

BINS = 15


def calibration_error(confidence: NDArray[np.floating], correct: NDArray[np.bool_], bins: int = BINS) -> float:
    """sum over bins of (n_b / n) |accuracy_b - mean confidence_b|, in percent; bins (i/B, (i+1)/B] of equal width."""
    confidence = np.asarray(confidence, np.float64)
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gap = np.bincount(place, correct - confidence, minlength=bins)  # n_b (accuracy_b - confidence_b)
    return float(100.0 * np.abs(gap).sum() / len(confidence))
