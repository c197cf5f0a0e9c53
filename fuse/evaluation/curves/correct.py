"""Correctness per segment and subset, and the accuracies it gives."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Correct = Mapping[str, NDArray[np.bool_]]


def parts(subset: str) -> frozenset[str]:
    return frozenset(subset.split("+"))


def full_subset(correct: Correct) -> str:
    """The name of the subset with every modality."""
    return max(correct, key=lambda name: len(parts(name)))


def accuracy(correct: NDArray[np.bool_]) -> float:
    return float(100.0 * correct.mean())


def class_mean(correct: NDArray[np.bool_], labels: NDArray[np.integer]) -> float:
    """The accuracies of the classes that occur, averaged."""
    _, index, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return float(100.0 * (np.bincount(index, correct, minlength=len(counts)) / counts).mean())
