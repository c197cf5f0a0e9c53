"""The console of all commands: status and progress on stderr, results and tables on stdout.

Much text comes from data: paths, titles, class names, messages of FFmpeg. So strings are printed literally: no rich
markup, no emoji codes, and control characters as escapes.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from mmcache.store.ground.text import printable


class _PlainConsole(Console):
    """A console that prints strings literally. Only Text objects have styles; `plain` makes their text safe."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False, soft_wrap=True, markup=False, emoji=False)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(plain(text), **options)


def plain(text: str) -> str:
    """`text` with control characters as escapes and tabs as spaces, so that it cannot control a terminal."""
    return printable(text.replace("\t", "    "))


out = _PlainConsole()
err = _PlainConsole(stderr=True)


def say(message: str) -> None:
    """Print one line of status on stderr."""
    err.print(message)


def warn(message: str) -> None:
    err.print(Text.assemble(("warning: ", "yellow"), plain(message)))


def say_error(message: str) -> None:
    """Print an error message on stderr."""
    err.print(Text.assemble(("error: ", "red"), plain(message)))


def print_json(value: Any) -> None:
    """Print one JSON document on stdout."""
    print(json.dumps(value, indent=1, default=str))  # noqa: T201


def table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], text_columns: int = 1, gap: int = 2
) -> Table:
    """A table whose first `text_columns` columns are text and the others numbers, `gap` spaces apart.

    A table that is too wide folds text and never cuts a number.
    """
    built = Table(title=title or None, title_justify="left", title_style="bold", header_style="bold", box=SIMPLE_HEAD)
    built.padding = (0, gap - 1, 0, 0)
    for i, column in enumerate(columns):
        text = i < text_columns
        built.add_column(column, justify="left" if text else "right", no_wrap=not text, overflow="fold")
    for row in rows:
        built.add_row(*map(str, row))
    return built


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f} {task.fields.get('unit', '')}/s" if speed else "")


class Bars:
    """Progress bars with count, rate and time left, on stderr. Nothing is drawn before the first update."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def update(self, name: str, done: int, total: int, unit: str, note: str = "") -> None:
        """Set the bar of that name; the first update creates it."""
        if self._progress is None:
            words = TextColumn("{task.description}", markup=False), TextColumn("{task.fields[note]}", markup=False)
            columns = (
                words[0],
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                _Rate(),
                TimeRemainingColumn(),
                words[1],
            )
            self._progress = Progress(*columns, console=err)
            self._progress.start()
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(plain(name), total=total, unit=unit, note=plain(note))
        self._progress.update(self._tasks[name], completed=done, note=plain(note))

    def segments(self, name: str, done: int, total: int) -> None:
        """Set the bar of that name, counted in segments."""
        self.update(name, done, total, "segments")

    def stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
        self._progress, self._tasks = None, {}

    def __enter__(self) -> "Bars":
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()


def size(count: float) -> str:
    """A number of bytes with its unit, such as 1.5 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def duration(seconds: float) -> str:
    """A duration with its unit, such as 2 min."""
    for unit, step in (("s", 60), ("min", 60), ("h", 48)):
        if seconds < step:
            return f"{seconds:.0f} {unit}" if seconds >= 10 else f"{seconds:.1f} {unit}"
        seconds /= step if unit != "h" else 24
    return f"{seconds:.1f} days"


def accuracies(runs: Mapping[str, Mapping[str, Any]], chance: Mapping[str, float] | None = None) -> Table:
    """Top-1 of every modality subset: one row a subset, one group of columns a run.

    Args:
        runs: title -> results in the form of `evaluate --json`.
        chance: task -> percent, shown in the last row.
    """
    first = next(iter(runs.values()))
    names = sorted(first["subsets"], key=lambda name: (-len(name.split("+")), name))
    tasks = list(first["summary"])
    columns = ["sensors"]
    for title in runs:
        columns += [f"{title if i == 0 else ''}\n{task}" for i, task in enumerate(tasks)]
    rows = []
    for name in names:
        figures = [run["subsets"].get(name, {}).get(task, {}).get("top1") for run in runs.values() for task in tasks]
        rows.append([name, *("-" if value is None else f"{value:.1f}" for value in figures)])
    if chance:
        rows.append(["(chance)", *(f"{chance[task]:.1f}" for _ in runs for task in tasks)])
    return table("", columns, rows, gap=1)
