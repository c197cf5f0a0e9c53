"""Every number of a report, one a line, with all its digits: for CSV, and for programs."""

import csv
import io
from collections.abc import Iterator, Mapping
from typing import Any

from mmcache.fuse.report.blocks import Report, TaskPart
from mmcache.fuse.report.costs import cost_of
from mmcache.fuse.report.read.figures import Curve, Spread
from mmcache.fuse.report.read.matching import compared
from mmcache.fuse.report.read.methods import Section
from mmcache.store.ground.text import printable

# dataset to task: what was measured on. recipe: what a method of ours was trained with. source: ours, possible or
# published. measure: subsets, rates, drop, patterns, summary, natural, rank, wins, share or cost. missing: the
# modality, of rates. at: the subset, rate in percent or name.
# std: over the seeds; nothing for a single one.
COLUMNS = (
    "dataset", "protocol", "split", "modalities", "segments", "task",
    "recipe", "source", "method", "measure", "missing", "at", "mean", "std", "seeds",
)  # fmt: skip


def records(report: Report) -> list[dict[str, Any]]:
    """One for each number: `COLUMNS`, None where there is nothing to say."""
    return [record for part in report.parts for task in part.tasks for record in _of_task(part.section, task)]


def to_csv(report: Report) -> str:
    """The records as CSV (RFC 4180) with a header, numbers as Python prints them, so that they read back exactly."""
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    for record in records(report):
        writer.writerow({name: printable(x) if isinstance(x, str) else x for name, x in record.items()})
    return file.getvalue()


def _of_task(section: Section, part: TaskPart) -> Iterator[dict[str, Any]]:
    data = {
        "dataset": section.dataset,
        "protocol": section.protocol,
        "split": section.split,
        "modalities": "+".join(section.modalities),
        "segments": section.n,
        "task": part.task,
    }
    for line in (*_ours(section, part), *_possible(part), *_published(section, part.task)):
        yield dict.fromkeys(COLUMNS) | data | line


def _ours(section: Section, part: TaskPart) -> Iterator[dict[str, Any]]:
    found = part.figures
    for method in section.methods:
        label = method.label
        mine = {"recipe": section.recipe, "source": "ours", "method": label, "seeds": len(method.runs)}
        yield from _curve({**mine, "measure": "subsets"}, found.subsets[label])
        for modality, by_method in found.rates.items():
            yield from _curve({**mine, "measure": "rates", "missing": modality}, by_method[label])
        yield from _curve({**mine, "measure": "drop"}, found.drops[label])
        yield from _curve({**mine, "measure": "patterns"}, found.patterns[label])
        known = {name: value for name, value in found.summary[label].items() if value is not None}
        yield from _curve({**mine, "measure": "summary"}, known)
        yield from _curve({**mine, "measure": "natural"}, {"all segments": found.natural[label]})
        if found.ranks:
            yield {**mine, "measure": "rank", "mean": found.ranks[label]}
            yield {**mine, "measure": "wins", "mean": found.wins[label]}
        for name, value in found.subsets[label].items() if found.possible is not None else ():
            share = found.possible.share(name, value.mean)  # type: ignore[union-attr]
            if share is not None:
                yield {**mine, "measure": "share", "at": name, "mean": share}
        cost = cost_of(method)
        for name, amount in cost.items() if cost is not None else ():
            yield {**mine, "measure": "cost", "at": name, "mean": amount}


def _curve(line: dict[str, Any], curve: Mapping[str, Spread] | Curve) -> Iterator[dict[str, Any]]:
    for at, value in curve.items():
        yield {**line, "at": at, "mean": value.mean, "std": value.std}


def _possible(part: TaskPart) -> Iterator[dict[str, Any]]:
    if part.figures.possible is not None:
        for name, value in part.figures.possible.best.items():
            yield {"source": "possible", "method": "Bayes", "measure": "subsets", "at": name, "mean": value}
        yield {"source": "possible", "method": "chance", "measure": "subsets", "mean": part.figures.possible.chance}


def _published(section: Section, task: str) -> Iterator[dict[str, Any]]:
    """Those that ours may be set beside."""
    for match in compared(section, task)[0]:
        table = match.table
        for method, row in table.rows.items():
            for at, value in row.items():
                line = {"source": "published", "method": f"{method} ({table.source}; {table.title})", "at": at}
                measure = {"drops": "drop"}.get(table.measure, table.measure)
                yield {**line, "measure": measure, "missing": table.missing or None, "mean": value}
