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
    """The accuracies of the classes that occur, averaged: their mean recall."""
    from sklearn.metrics import recall_score  # it takes most of a second to load

    predicted = np.where(correct, labels, -1)
    return float(100.0 * recall_score(labels, predicted, labels=np.unique(labels), average="macro", zero_division=0.0))
