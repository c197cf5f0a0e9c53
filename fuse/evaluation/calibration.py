"""How far confidence is from accuracy, and the temperature that brings them together (Guo et al., ICML 2017)."""

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

BINS = 15


def calibration_error(confidence: NDArray[np.floating], correct: NDArray[np.bool_], bins: int = BINS) -> float:
    """sum over bins of (n_b / n) |accuracy_b - mean confidence_b|, in percent; bins (i/B, (i+1)/B] of equal width."""
    confidence = np.asarray(confidence, np.float64)
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gap = np.bincount(place, correct - confidence, minlength=bins)  # n_b (accuracy_b - confidence_b)
    return float(100.0 * np.abs(gap).sum() / len(confidence))


def best_temperature(logits: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    """The T at which softmax(logits / T) has the smallest cross-entropy, between 0.05 and 20; 1 with nothing to go by.

    Args:
        logits: (B, C).
        labels: (B,), -1 where unlabelled.
    """
    logits, labels = np.asarray(logits, np.float64)[labels >= 0], labels[labels >= 0]
    if not len(labels):
        return 1.0

    def loss(log_temperature: float) -> float:
        log_p = special.log_softmax(logits / np.exp(log_temperature), axis=1)
        return float(-log_p[np.arange(len(labels)), labels].mean())

    found = optimize.minimize_scalar(loss, bounds=(np.log(0.05), np.log(20.0)), method="bounded")
    return float(np.exp(found.x))
