"""Augmented views of a segment: which part of it each one shows, and what its augmentations are drawn from.

View 0 is the centre view, used at test: the whole segment, nothing changed. Every other view is a function of the
segment's id and its number alone. All modalities of a view show the same part of the segment, so that they stay in
step; what else is done to each (crop, flip, colour, SpecAugment) its encoder draws for itself.
"""

import hashlib
from typing import Any

import numpy as np

_JITTER = 0.2  # at most this share of a segment is cut off at either end


def part_of_view(segment: str, view: int) -> tuple[float, float]:
    """The share of the segment that a view shows, 0 its start and 1 its stop."""
    if view == 0:
        return (0.0, 1.0)
    low, high = _generator(segment, view, "part").uniform(0.0, _JITTER, 2)
    return (float(low), float(1.0 - high))


def augmentations_of_view(segment: str, view: int, modality: str) -> np.random.Generator | None:
    """What the encoder of `modality` draws its augmentations from; None for the centre view, which has none."""
    return None if view == 0 else _generator(segment, view, modality)


def described(views: int) -> dict[str, Any]:
    """What fingerprints say of views; nothing where there is only the centre view."""
    return {} if views == 1 else {"views": views, "view_jitter": _JITTER}


def _generator(segment: str, view: int, purpose: str) -> np.random.Generator:
    digest = hashlib.sha256(f"{view}/{purpose}/{segment}".encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, np.uint32))
