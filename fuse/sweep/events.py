"""The events that a worker sends about its runs while it trains them, as plain values."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmcache.fuse.runs.files import METRICS_FILE, last_epoch

# The states of a trial.
WAITING, RUNNING, FINISHED, FAILED, STOPPED = "waiting", "running", "finished", "failed", "stopped"
ENDS = (FINISHED, FAILED, STOPPED)

Event = dict[str, Any]  # identity, state, and what is known: epoch, epochs, loss, validation, held, reason


def last_line(folder: Path) -> dict[str, Any] | None:
    """The last line of a run's metrics. Raises ConfigError where it is damaged."""
    return last_epoch(folder / METRICS_FILE)


def validation_of(line: dict[str, Any], task: str | None = None) -> float | None:
    """The accuracy on what picks the epoch in a line of metrics: of a task, or the one that does; None if none does."""
    validation: dict[str, float] = line["validation"]
    if not validation:
        return None
    return validation.get(task) if task is not None else validation.get("action", next(iter(validation.values())))


class Teller:
    """The progress of one run (see fuse/runs/progress.py) as events.

    Args:
        held: mark every epoch but the last as one that waits for the scheduler's word.
    """

    def __init__(
        self, identity: str, folder: Path, task: str | None, held: bool, tell: Callable[[Event], None]
    ) -> None:
        self._identity, self._folder, self._task = identity, folder, task
        self._held, self._tell = held, tell

    def stage(self, title: str, details: list[str]) -> None:
        self._tell({"identity": self._identity, "state": RUNNING})

    def advance(self, done: int, total: int, unit: str, note: str = "") -> None:
        line = last_line(self._folder) if unit == "epochs" else None
        if line is not None:
            figures = {
                "epoch": done,
                "epochs": total,
                "loss": line["loss"],
                "validation": validation_of(line, self._task),
            }
            held = self._held and done < total
            self._tell({"identity": self._identity, "state": RUNNING, **figures, "held": held})
