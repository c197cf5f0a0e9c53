"""Which published figures may stand beside ours: those of the same data, task, measure and protocol."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from mmcache.fuse.report.read.figures import Curve, spreads
from mmcache.fuse.report.read.methods import Section
from mmcache.fuse.report.read.published import TABLES, Published


@dataclasses.dataclass(frozen=True)
class Beside:
    """A published table and our figures in its columns; a column that ours have not is left out of them."""

    table: Published
    ours: dict[str, Curve]


@dataclasses.dataclass(frozen=True)
class Apart:
    """A published table of the same data and task that ours must not be set beside."""

    table: Published
    reason: str


def compared(section: Section, task: str) -> tuple[list[Beside], list[Apart]]:
    """The published tables of a section's data and task."""
    beside, apart = [], []
    for table in TABLES:
        if table.dataset != section.dataset or table.task != task:
            continue
        reason = table.apart or _difference(table, section)
        if reason:
            apart.append(Apart(table, reason))
        else:
            beside.append(Beside(table, _ours(table, section, task)))
    return beside, apart


def _difference(table: Published, section: Section) -> str:
    """Why the two are not of the same protocol; '' where they are."""
    if section.split == "train":
        return "ours are measured on the training split"
    if table.protocol != section.protocol:
        return f"theirs is {_division(table.protocol)}, ours {_division(section.protocol)}"
    if set(table.modalities) != set(section.modalities):
        return f"theirs reads {_listed(table.modalities)}, ours {_listed(section.modalities)}"
    ours = {name: len(classes) for name, classes in section.first.saved["model"]["tasks"].items()}
    for name, count in table.classes.items():
        if ours.get(name) != count:
            return f"theirs tells {count} {name} classes apart, ours {ours.get(name, 'none')}"
    if table.pruned and any(run.pruned is None for method in section.methods for run in method.runs):
        return "theirs leaves out nouns that never occur in train, and which these are our runs do not say"
    return ""


def _division(protocol: str | None) -> str:
    return f"the division {protocol}" if protocol else "the usual division"


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(sorted(names))


def _ours(table: Published, section: Section, task: str) -> dict[str, Curve]:
    out = {}
    for method in section.methods:
        results = [run.pruned if table.pruned else run.result for run in method.runs]
        curves = [_curve(table, result, task) for result in results if result is not None]
        out[method.label] = spreads(curves)
    return out


def _curve(table: Published, result: Mapping[str, Any], task: str) -> dict[str, float]:
    if table.measure == "subsets":
        found = {name: figures[task]["top1"] for name, figures in result["subsets"].items()}
    elif table.measure == "rates":
        found = result["rates"][table.missing][task]
    else:
        found = result["drop" if table.measure == "drops" else "summary"][task]
    return {name: found[name] for name in table.columns if found.get(name) is not None}
