"""How every trial of a sweep stands: waiting, running, finished, failed, stopped. The run folders are the truth."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmcache.fuse.runs.files import METRICS_FILE, SUMMARY_FILE, read_metrics, read_summary
from mmcache.fuse.sweep.events import ENDS, FAILED, FINISHED, RUNNING, STOPPED, WAITING, Event, last_line, validation_of
from mmcache.fuse.sweep.trials import Trial

_STOPPED_FILE = "stopped"  # in the folder of a run that the scheduler ended early


@dataclasses.dataclass
class Standing:
    """How one trial stands.

    Attributes:
        epoch: epochs done, of `epochs`.
        validation: accuracy on what picks the epoch after the last of them, in percent.
        before: whether it had ended before this command began.
        seconds: since this command began on it.
    """

    trial: Trial
    state: str = WAITING
    epoch: int = 0
    loss: float | None = None
    validation: float | None = None
    reason: str | None = None
    before: bool = False
    began: float | None = None
    seconds: float = 0.0

    @property
    def epochs(self) -> int:
        return self.trial.options.optimiser.epochs

    def now(self) -> float:
        """Seconds since it began, or that it took."""
        running = self.state == RUNNING and self.began is not None
        return time.monotonic() - self.began if running and self.began is not None else self.seconds


class Board:
    """The standings of all trials.

    Args:
        changed: told of every standing that changes.
        task: whose accuracy on what picks the epoch is kept; None = the one that picks the epoch.

    Attributes:
        standings: identity -> standing, each after those of the trials it builds on.
        notes: points of a search that no trial could be made of, and why.
    """

    def __init__(self, changed: Callable[[Standing], None], task: str | None = None) -> None:
        self.standings: dict[str, Standing] = {}
        self.notes: list[str] = []
        self._changed, self._task = changed, task

    def add(self, trial: Trial) -> Standing:
        """Take a trial up as its run folder has it."""
        known = self.standings.get(trial.identity)
        if known is not None:
            known.trial = trial
            return known
        standing = Standing(trial)
        line = last_line(trial.folder)
        if line is not None:
            standing.epoch, standing.loss = line["epoch"] + 1, line["loss"]
            standing.validation = validation_of(line, self._task)
        if (trial.folder / SUMMARY_FILE).exists():
            standing.state, standing.before = FINISHED, True
        elif (trial.folder / _STOPPED_FILE).exists():
            standing.state, standing.before = STOPPED, True
            standing.reason = f"stopped early after epoch {standing.epoch}"
        self.standings[trial.identity] = standing
        return standing

    def take(self, event: Event) -> None:
        """Note what a worker told."""
        standing = self.standings[event["identity"]]
        if standing.state in ENDS:
            return  # told again by a worker that took the place of a dead one
        if standing.began is None:
            standing.began = time.monotonic()
        for name in ("epoch", "loss", "validation", "reason"):
            if name in event:
                setattr(standing, name, event[name])
        self._set(standing, event["state"])

    def fail(self, identity: str, reason: str) -> None:
        """Note that a trial cannot be had, and with it those that build on it."""
        standing = self.standings[identity]
        if standing.state in ENDS:
            return
        standing.reason = reason
        self._set(standing, FAILED)

    def stop_early(self, identity: str) -> None:
        """Note that the scheduler ended a trial, in its folder too: it stays ended."""
        standing = self.standings[identity]
        if standing.state in ENDS:
            return
        standing.reason = f"stopped early after epoch {standing.epoch}"
        standing.trial.folder.mkdir(parents=True, exist_ok=True)
        (standing.trial.folder / _STOPPED_FILE).write_text(f"{standing.epoch}\n")
        self._set(standing, STOPPED)

    def ready(self) -> list[Trial]:
        """The waiting trials whose needs are finished; those whose needs failed are failed on the way."""
        out = []
        for standing in list(self.standings.values()):
            if standing.state != WAITING:
                continue
            needs = [self.standings[name] for name in standing.trial.needs]
            lost = next((need for need in needs if need.state in (FAILED, STOPPED)), None)
            if lost is not None:
                self.fail(standing.trial.identity, f"it builds on {lost.trial.label}, which failed: {lost.reason}")
            elif all(need.state == FINISHED for need in needs):
                out.append(standing.trial)
        return out

    def start(self, trial: Trial) -> None:
        """A trial is given to a worker."""
        standing = self.standings[trial.identity]
        standing.began = time.monotonic()
        self._set(standing, RUNNING)

    @property
    def all_ended(self) -> bool:
        return all(standing.state in ENDS for standing in self.standings.values())

    def objective(self, identity: str) -> float | None:
        """The best accuracy on what picks the epoch that a finished or stopped trial had, None for one that failed."""
        standing = self.standings[identity]
        if standing.state not in (FINISHED, STOPPED):
            return None
        lines = read_metrics(standing.trial.folder / METRICS_FILE)
        figures = [validation_of(line, self._task) for line in lines]
        return max((figure for figure in figures if figure is not None), default=None)

    def _set(self, standing: Standing, state: str) -> None:
        standing.seconds = standing.now()
        standing.state = state
        self._changed(standing)


def result_of(folder: Path) -> dict[str, Any]:
    """The results of a finished run, in the form of `evaluate --json`."""
    return read_summary(folder / SUMMARY_FILE)
