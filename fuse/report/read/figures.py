"""The numbers of one task of a section: mean and spread over seeds of everything that is shown."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from mmcache.fuse.evaluation import curves as protocols
from mmcache.fuse.report.read.methods import Method, Section
from mmcache.fuse.report.read.possible import Possible

SUMMARIES = ("avg_acc", "avg_rel_drop", "mean_delta")


class Spread(NamedTuple):
    """Mean and standard deviation (n - 1) over runs that differ in their seed; no deviation of a single one."""

    mean: float
    std: float | None
    runs: int


Curve = dict[str, Spread]  # a subset, rate or drop -> accuracy


@dataclasses.dataclass(frozen=True)
class TaskFigures:
    """Every mapping goes from the labels of methods, in their order.

    Attributes:
        subsets: in the order of `subset_order`.
        rates: modality -> method -> rate.
        patterns: rate at which some modality or other is missing.
        summary: protocols.summary; None where a run has none.
        natural: all segments, each with what it has; how many they are is `natural_n`.
        ranks, wins: averaged over the subsets; in how many of them the method is the best, ties counting for all.
        exceeds: method and subset where some run is above the best possible by more than chance gives.
    """

    task: str
    n: int
    subsets: dict[str, Curve]
    rates: dict[str, dict[str, Curve]]
    drops: dict[str, Curve]
    patterns: dict[str, Curve]
    summary: dict[str, dict[str, Spread | None]]
    natural: dict[str, Spread]
    natural_n: int
    ranks: dict[str, float]
    wins: dict[str, int]
    possible: Possible | None
    exceeds: frozenset[tuple[str, str]]

    @property
    def subset_names(self) -> list[str]:
        return list(next(iter(self.subsets.values())))


def figures(section: Section, task: str) -> TaskFigures:
    """The numbers of one task of a section."""

    def each(read: Callable[[Mapping[str, Any]], Mapping[str, float]]) -> dict[str, Curve]:
        return {method.label: spreads([read(run.result) for run in method.runs]) for method in section.methods}

    first = section.first.result
    order = subset_order(first["subsets"])
    subsets = each(lambda result: {name: result["subsets"][name][task]["top1"] for name in order})
    means = {label: {name: value.mean for name, value in curve.items()} for label, curve in subsets.items()}
    return TaskFigures(
        task=task,
        n=section.n,
        subsets=subsets,
        rates={m: each(lambda result, m=m: result["rates"][m][task]) for m in first["rates"]},  # type: ignore[misc]
        drops=each(lambda result: result["drop"][task]),
        patterns=each(lambda result: result["patterns"][task]),
        summary={method.label: _summary(method, task) for method in section.methods},
        natural={m.label: spread([run.result["natural"][task] for run in m.runs]) for m in section.methods},
        natural_n=first["natural"]["n"],
        ranks=protocols.average_ranks(means) if len(means) > 1 else {},
        wins=_wins(means) if len(means) > 1 else {},
        possible=section.possible,
        exceeds=_exceeds(section, task, order),
    )


def spread(values: Sequence[float]) -> Spread:
    found = protocols.spread(values)
    return Spread(float(found["mean"] or 0.0), found["std"], len(values))


def spreads(curves: Sequence[Mapping[str, float]]) -> Curve:
    return {name: spread([curve[name] for curve in curves]) for name in curves[0]}


def subset_order(names: Mapping[str, Any] | Sequence[str]) -> list[str]:
    """All modalities first, single ones last."""
    return sorted(names, key=lambda name: (-name.count("+"), name))


def _summary(method: Method, task: str) -> dict[str, Spread | None]:
    out: dict[str, Spread | None] = {}
    for name in SUMMARIES:
        values = [run.result["summary"][task][name] for run in method.runs]
        out[name] = None if None in values else spread(values)
    return out


def _wins(means: Mapping[str, Mapping[str, float]]) -> dict[str, int]:
    best = {name: max(values[name] for values in means.values()) for name in next(iter(means.values()))}
    return {label: sum(values[name] == best[name] for name in best) for label, values in means.items()}


def _exceeds(section: Section, task: str, order: list[str]) -> frozenset[tuple[str, str]]:
    if section.possible is None:
        return frozenset()
    among = len(order) * sum(len(method.runs) for method in section.methods)
    return frozenset(
        (method.label, name)
        for method in section.methods
        for run in method.runs
        for name in order
        if section.possible.exceeded(name, run.result["subsets"][name][task]["top1"], section.n, among)
    )
