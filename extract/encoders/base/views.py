"""Augmented views of a segment: the part that each one shows, and the random numbers of its augmentations.

View 0 is the centre view, used at test: the whole segment, nothing changed. Every other view is a function of the
segment's id and its number alone, and the same for all modalities: they show the same part of the segment, are
mirrored together or not at all, and draw the rest (crop, colour, SpecAugment) from the same numbers, so that frames
and flow are cut alike.
"""

import dataclasses
import hashlib
from typing import Any

import numpy as np

_JITTER = 0.2  # at most this share of a segment is cut off at either end
_MIRRORED = 0.5  # the share of views that are mirrored, if mirroring changes no class


@dataclasses.dataclass(frozen=True)
class View:
    """What an encoder's augmentations of one view are drawn from.

    Attributes:
        rng: numbers for everything but the mirror.
        mirrored: whether left is right.
    """

    rng: np.random.Generator
    mirrored: bool

    @classmethod
    def drawn(cls, key: Any, mirrors: bool = True) -> "View":
        """The view that a key of np.random.default_rng stands for; `mirrors` = whether it may be mirrored."""
        rng = np.random.default_rng(key)
        return cls(rng, bool(rng.random() < _MIRRORED) and mirrors)


def part_of_view(segment: str, number: int) -> tuple[float, float]:
    """The share of the segment that a view shows, 0 its start and 1 its stop."""
    if number == 0:
        return (0.0, 1.0)
    low, high = np.random.default_rng(_key(segment, number, "part")).uniform(0.0, _JITTER, 2)
    return (float(low), float(1.0 - high))


def view_of(segment: str, number: int, mirrors: bool) -> View | None:
    """A view of a segment; None for the centre view, which is not augmented."""
    return None if number == 0 else View.drawn(_key(segment, number, "augment"), mirrors)


def described(views: int, mirrors: bool) -> dict[str, Any]:
    """The entries of fingerprints about views; empty for the centre view alone."""
    if views == 1:
        return {}
    return {"views": views, "view_jitter": _JITTER, "view_mirrored": _MIRRORED if mirrors else 0.0}


def _key(segment: str, number: int, purpose: str) -> list[int]:
    digest = hashlib.sha256(f"{number}/{purpose}/{segment}".encode()).digest()
    return np.frombuffer(digest, np.uint32).tolist()
