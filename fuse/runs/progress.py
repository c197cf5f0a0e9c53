"""How training reports its progress."""

from typing import Protocol


class Progress(Protocol):
    """Receives the progress of training."""

    def stage(self, title: str, details: list[str]) -> None:
        """A run, or another part of the work, begins."""

    def advance(self, done: int, total: int, unit: str, note: str = "") -> None:
        """`done` of `total` epochs (or blocks) are finished."""


class Silent:
    """Progress that prints nothing."""

    def stage(self, title: str, details: list[str]) -> None:
        return None

    def advance(self, done: int, total: int, unit: str, note: str = "") -> None:
        return None
