"""How far confidence is from accuracy (Guo et al., ICML 2017)."""

import numpy as np
from numpy.typing import NDArray

BINS = 15


def calibration_error(confidence: NDArray[np.floating], correct: NDArray[np.bool_], bins: int = BINS) -> float:
    """sum over bins of (n_b / n) |accuracy_b - mean confidence_b|, in percent; bins (i/B, (i+1)/B] of equal width."""
    from sklearn.calibration import calibration_curve  # it takes most of a second to load

    confidence = np.clip(np.asarray(confidence, np.float64), 0.0, 1.0)
    accuracy, mean = calibration_curve(correct, confidence, n_bins=bins, strategy="uniform", pos_label=True)
    place = np.searchsorted(np.linspace(0.0, 1.0, bins + 1)[1:-1], confidence)
    counts = np.bincount(place, minlength=bins)
    counts = counts[counts > 0]
    return float(100.0 * (counts * np.abs(accuracy - mean)).sum() / len(confidence))
