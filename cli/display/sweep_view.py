"""Progress of a sweep: a live table in a terminal, else one line per event."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from mmcache.cli.display.console import duration, err, plain

if TYPE_CHECKING:
    from mmcache.fuse.sweep.board import Standing

_STYLES = {"waiting": "dim", "running": "bold", "finished": "green", "failed": "red", "stopped": "yellow"}
_AROUND = 6  # lines of the terminal that show no trials


class SweepView:
    """Shows the standings of trials; run_sweep calls `changed`.

    Args:
        standings: of all trials; a search adds its trials as they start.
    """

    def __init__(self, standings: "dict[str, Standing]") -> None:
        self._standings = standings
        self._began = time.monotonic()
        self._first = {name: standing.epoch for name, standing in standings.items()}
        self._live: Live | None = None
        if err.is_terminal:
            self._live = Live(get_renderable=self._draw, console=err, refresh_per_second=4, redirect_stdout=False)
        self._states = {name: standing.state for name, standing in standings.items()}

    def __enter__(self) -> "SweepView":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.stop()

    def changed(self, standing: "Standing") -> None:
        """Update the view after a change of a trial's standing."""
        name = standing.trial.identity
        self._standings[name] = standing
        self._first.setdefault(name, 0)
        if self._live is None and self._states.get(name) != standing.state:
            err.print(self._line(standing))
        self._states[name] = standing.state

    def _line(self, standing: "Standing") -> str:
        figures = [f"{time.monotonic() - self._began:7.1f} s", f"{standing.state:8}", standing.trial.label]
        if standing.state == "finished":
            held = [f"validation {standing.validation:.1f} %"] if standing.validation is not None else []
            figures += [f"{standing.epoch} epochs", *held, duration(standing.seconds)]
        if standing.reason:
            figures.append(standing.reason)
        return "  ".join([*figures, self.total() if standing.state != "running" else ""]).rstrip()

    def total(self) -> str:
        """The number of finished trials, and an estimate of the remaining time."""
        standings = list(self._standings.values())
        ended = sum(standing.state in ("finished", "failed", "stopped") for standing in standings)
        failed = sum(standing.state == "failed" for standing in standings)
        parts = [f"{ended} of {len(standings)} ended" + (f", {failed} failed" if failed else "")]
        left = self._seconds_left(standings)
        if left is not None:
            parts.append(f"about {duration(left)} left")
        return "[" + ", ".join(parts) + "]"

    def _seconds_left(self, standings: "Sequence[Standing]") -> float | None:
        done = sum(standing.epoch - self._first.get(standing.trial.identity, 0) for standing in standings)
        to_do = sum(s.epochs - s.epoch for s in standings if s.state in ("waiting", "running"))
        return (time.monotonic() - self._began) * to_do / done if done and to_do else None

    def _draw(self) -> Any:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        table.add_column("trial", no_wrap=True, overflow="ellipsis")
        table.add_column("state")
        for name in ("epoch", "loss", "validation", "time"):
            table.add_column(name, justify="right", no_wrap=True)
        standings = list(self._standings.values())
        chosen = _most_telling(standings, max(4, err.height - _AROUND))
        for standing in chosen:
            table.add_row(*_cells(standing))
        hidden = len(standings) - len(chosen)
        more = [Text(f"... and {hidden} more trials", style="dim")] if hidden else []
        elapsed = duration(time.monotonic() - self._began)
        return Group(table, *more, Text(f"{self.total().strip('[]')}; {elapsed} so far", style="bold"))


def _cells(standing: "Standing") -> list[Text]:
    known = standing.epoch > 0
    return [
        Text(plain(standing.trial.label)),
        Text(standing.state, style=_STYLES[standing.state]),
        Text(f"{standing.epoch}/{standing.epochs}" if known else ""),
        Text(f"{standing.loss:.3f}" if known and standing.loss is not None else ""),
        Text(f"{standing.validation:.1f} %" if known and standing.validation is not None else ""),
        Text(duration(standing.now()) if standing.began is not None else ""),
    ]


def _most_telling(standings: "list[Standing]", room: int) -> "list[Standing]":
    """The trials that fit on the screen, in the sweep's order: running, failed, last finished, next ones first."""
    if len(standings) <= room:
        return standings
    urgency = {"running": 0, "failed": 1, "finished": 2, "stopped": 2, "waiting": 3}
    ranked = sorted(standings, key=lambda s: (urgency[s.state], -(s.began or 0.0) if s.state != "waiting" else 0.0))
    kept = {id(standing) for standing in ranked[:room]}
    return [standing for standing in standings if id(standing) in kept]
