"""Who is told how far a training is."""

from typing import Protocol


class Progress(Protocol):
    """Who wants to know how far the training is."""

    def stage(self, title: str, details: list[str]) -> None:
        """A run, or another part of the work, begins."""

    def advance(self, done: int, total: int, unit: str, note: str = "") -> None:
        """`done` of `total` epochs (or blocks) are finished."""


class Silent:
    """Progress for nobody."""

    def stage(self, title: str, details: list[str]) -> None:
        return None

    def advance(self, done: int, total: int, unit: str, note: str = "") -> None:
        return None
