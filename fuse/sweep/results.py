"""What a sweep came to: every trial, and the means over seeds of every method."""

import dataclasses
import statistics
from pathlib import Path
from typing import Any

from mmcache.fuse.sweep.board import Board, Standing, result_of
from mmcache.fuse.sweep.events import FAILED, FINISHED, STOPPED


@dataclasses.dataclass(frozen=True)
class MethodRow:
    """One method on one store, over its finished seeds.

    Attributes:
        subsets: subset -> mean top-1 of the main task, in percent.
        summary: figure of the summaries -> its mean, None where a run has none.
    """

    method: str
    store: Path
    seeds: int
    subsets: dict[str, float]
    summary: dict[str, float | None]


def main_task(result: dict[str, Any]) -> str:
    """The task that a table of one task shows: action, else the first."""
    return "action" if "action" in result["summary"] else next(iter(result["summary"]))


def method_rows(board: Board) -> list[MethodRow]:
    """A row a method, in the order of the sweep; of trials alone, not of what they were built on."""
    by_method: dict[tuple[Path, str], list[dict[str, Any]]] = {}
    for standing in board.standings.values():
        trial = standing.trial
        if trial.role == "trial" and standing.state == FINISHED:
            assert trial.options.store is not None
            by_method.setdefault((trial.options.store, trial.method), []).append(result_of(trial.folder))
    return [_row(method, store, results) for (store, method), results in by_method.items()]


def _row(method: str, store: Path, results: list[dict[str, Any]]) -> MethodRow:
    task = main_task(results[0])
    subsets = {
        name: statistics.fmean(result["subsets"][name][task]["top1"] for result in results)
        for name in results[0]["subsets"]
        if task in results[0]["subsets"][name]
    }
    summary: dict[str, float | None] = {}
    for figure in results[0]["summary"][task]:
        values = [result["summary"][task][figure] for result in results]
        summary[figure] = None if None in values else statistics.fmean(values)
    return MethodRow(method, store, len(results), subsets, summary)


def as_json(board: Board, recipe: str, out: Path, seconds: float) -> dict[str, Any]:
    """Everything, for machines."""
    standings = list(board.standings.values())
    return {
        "out": str(out),
        "recipe": recipe,
        "seconds": round(seconds, 1),
        "counts": {state: sum(s.state == state for s in standings) for state in (FINISHED, STOPPED, FAILED)},
        "notes": board.notes,
        "trials": [_trial(standing) for standing in standings],
        "methods": [{**dataclasses.asdict(row), "store": str(row.store)} for row in method_rows(board)],
    }


def _trial(standing: Standing) -> dict[str, Any]:
    trial = standing.trial
    result = result_of(trial.folder) if standing.state == FINISHED else {}
    return {
        "label": trial.label,
        "role": trial.role,
        "strategy": trial.options.name,
        "recipe": trial.options.recipe,
        "store": str(trial.options.store),
        "seed": trial.options.run.seed,
        "point": trial.point,
        "identity": trial.identity,
        "run": str(trial.folder),
        "state": standing.state,
        "reason": standing.reason,
        "before": standing.before,
        "epochs": standing.epoch,
        "validation": standing.validation,
        "seconds": round(standing.seconds, 2),
        "train_seconds": result.get("train_seconds"),
        "summary": result.get("summary"),
        "subsets": result.get("subsets"),
    }
