"""The temperature at which a model is right as often as it is confident (Guo et al., ICML 2017)."""

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special


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
