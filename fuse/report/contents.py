"""What a report says: for every section and task, blocks of tables, plots and words, in the order of reading."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmcache.fuse.options.recipes import MEANINGS
from mmcache.fuse.report import costs, curves
from mmcache.fuse.report.blocks import Block, Report, SectionPart, TaskPart
from mmcache.fuse.report.read.figures import SUMMARIES, TaskFigures, figures
from mmcache.fuse.report.read.found import LeftOut
from mmcache.fuse.report.read.matching import compared
from mmcache.fuse.report.read.methods import Section
from mmcache.fuse.report.tables import NOTHING, Cell, Kind, Row, Table, figure, marked, plain, shaded
from mmcache.store.ground.errors import Problems

SUMMARY_TITLES = {"avg_acc": "mean", "avg_rel_drop": "mean drop %", "mean_delta": "mean difference"}


def contents(
    title: str, sections: Sequence[Section], left_out: Sequence[LeftOut], tasks: Sequence[str] | None = None
) -> Report:
    """Work a report out.

    Args:
        tasks: only these; None = all, 'action' first.

    Raises:
        ConfigError: no section has one of `tasks`.
    """
    if tasks is not None:
        known = list(dict.fromkeys(task for section in sections for task in section.tasks))
        problems = Problems()
        for task in tasks:
            problems.check_name("task", task, known)
        problems.raise_if_any()
    names = [section.title for section in sections]
    parts = []
    for i, section in enumerate(sections):
        place, total = names[: i + 1].count(names[i]), names.count(names[i])
        told = f" ({place} of {total}, on different segments)" if total > 1 else ""
        parts.append(_section_part(i + 1, names[i] + told, section, tasks))
    shown = sum(len(method.runs) for section in sections for method in section.methods)
    methods = sum(len(section.methods) for section in sections)
    recipes = list(dict.fromkeys(section.recipe for section in sections))
    sets = len({section.data for section in sections})
    words = [
        f"{_count(shown, 'run')} of {_count(methods, 'method')} on {_count(sets, 'set')} of segments.",
        _recipes_told(recipes),
        "Accuracy is top-1 in percent, on the segments that have every modality; a method is mean ± standard deviation "
        "over its seeds, and the best of a column is bold.",
    ]
    kinds = Counter(out.kind for out in left_out)
    if kinds:
        told = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        words.append(f"{_count(len(left_out), 'folder')} in no table: {told}; they are named at the end.")
    return Report(title, " ".join(words), tuple(parts), tuple(left_out))


def _recipes_told(recipes: Sequence[str]) -> str:
    if len(recipes) == 1:
        return f"All were trained with the {recipes[0]} recipe."
    return f"They were trained with the recipes {' and '.join(recipes)}, which have sections of their own."


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _section_part(place: int, title: str, section: Section, tasks: Sequence[str] | None) -> SectionPart:
    words = [f"Recipe: {section.recipe}, which is {MEANINGS.get(section.recipe, 'unknown here')}."]
    words.append(f"{section.n} segments have every modality.")
    counts = sorted({len(method.runs) for method in section.methods})
    words.append(f"Seeds a method: {' to '.join(map(str, [counts[0], counts[-1]][: len(counts)]))}.")
    if counts[0] == 1:
        words.append("A single seed has no spread; differences of such methods may be chance.")
    if section.dataset == "oracle" and section.possible is None:
        words.append("What is possible on these data is not known here: their store is gone or another one by now.")
    parts = []
    for task in section.tasks:
        if tasks is None or task in tasks:
            found = figures(section, task)
            main = task == section.tasks[0]
            parts.append(TaskPart(task, found, tuple(_blocks(f"{place}-{task}", section, found, main))))
    return SectionPart(title, section, " ".join(words), tuple(parts), _runs_table(section))


def _blocks(name: str, section: Section, found: TaskFigures, main: bool) -> list[Block]:
    blocks = [_subsets_block(section, found)]
    if found.possible is not None:
        blocks.append(_share_block(found))
    if found.ranks or found.natural_n > found.n:
        blocks.append(_rank_block(section, found))
    if found.rates:
        blocks.append(curves.rates_block(name, found))
    if len(found.subset_names) > 1:
        blocks.append(curves.drops_block(name, found))
    if main:
        blocks += costs.cost_blocks(name, section, found)
    return [*blocks, *_published_blocks(section, found)]


def _subsets_block(section: Section, found: TaskFigures) -> Block:
    names = found.subset_names
    several = len(names) > 1
    summaries = [name for name in SUMMARIES if several]
    rows = []
    if found.possible is not None:
        best = [found.possible.best[name] for name in names]
        mean = [plain(sum(best) / len(best)), NOTHING, NOTHING][: len(summaries)]
        rows.append(Row("best possible (Bayes)", (NOTHING, *map(plain, best), *mean), Kind.POSSIBLE))
    for method in section.methods:
        label = method.label
        cells = [
            dataclasses.replace(figure(found.subsets[label][name]), beyond=(label, name) in found.exceeds)
            for name in names
        ]
        rows.append(
            Row(label, (Cell(str(len(method.runs))), *cells, *(figure(found.summary[label][s]) for s in summaries)))
        )
    directions = dict.fromkeys(range(1, len(names) + 1), max)
    directions |= {len(names) + 1 + i: min if name == "avg_rel_drop" else max for i, name in enumerate(summaries)}
    notes = []
    if several:
        notes.append(
            "mean: over all subsets. mean drop %: over the proper subsets, how much of the full accuracy is lost. mean "
            "difference: over the proper subsets, to the full accuracy in points."
        )
    if found.possible is not None and found.exceeds:
        notes.append(_beyond_note(found.n))
    table = Table(
        "",
        ("method", "seeds", *names, *(SUMMARY_TITLES[name] for name in summaries)),
        shaded(marked(rows, directions), range(1, len(names) + 1)),
        tuple(notes),
    )
    text = "Accuracy when these modalities are present and all others are missing."
    if found.possible is not None and not found.exceeds:
        text += " No run is above the best possible by more than chance gives (1 % for the whole table)."
    return Block("Every subset of the modalities", text, (table,))


def _beyond_note(n: int) -> str:
    return (
        f"† a run is above the best possible by more than chance gives on {n} segments (1 % for the whole table): "
        "something is wrong with it, or with the data."
    )


def _share_block(found: TaskFigures) -> Block:
    assert found.possible is not None
    possible, names = found.possible, found.subset_names
    rows = []
    for label, curve in found.subsets.items():
        shares = [possible.share(name, curve[name].mean) for name in names]
        known = [share for share in shares if share is not None]
        mean = sum(known) / len(known) if known else None
        rows.append(Row(label, (*(plain(share, 0) for share in shares), plain(mean, 0))))
    columns = ("method", *names, "mean")
    table = Table("", columns, shaded(marked(rows, dict.fromkeys(range(len(names) + 1), max)), range(len(names))))
    text = (
        "Corrected for chance: 0 % is naming the most frequent class every time, which is right in "
        f"{possible.chance:.1f} % of the segments; 100 % is the best possible (Bayes) accuracy of that subset. Below "
        "0 a method does worse than that guess."
    )
    return Block("Share of what is possible", text, (table,))


def _rank_block(section: Section, found: TaskFigures) -> Block:
    natural = found.natural_n > found.n
    order = sorted(found.natural, key=lambda label: found.ranks.get(label, 0.0))
    rows = []
    for label in order:
        cells = [plain(found.ranks[label], 2), Cell(str(found.wins[label]))] if found.ranks else []
        rows.append(Row(label, (*cells, *([figure(found.natural[label])] if natural else []))))
    columns = ["method", *(["mean rank", "wins"] if found.ranks else [])]
    directions = {0: min, 1: max} if found.ranks else {}
    words = []
    if found.ranks:
        words.append(
            f"A method's rank within each of the {len(found.subset_names)} subsets (1 is the best, ties share the mean "
            "rank), averaged; wins is the number of subsets where it is the best, ties counting for all."
        )
    if natural:
        columns.append("all segments")
        directions[len(columns) - 2] = max
        words.append(
            f"All segments: natural accuracy, on all {found.natural_n} segments, each with the modalities it has; "
            f"{found.natural_n - found.n} of them lack some."
        )
    title = " and ".join([*(["Ranks"] if found.ranks else []), *(["natural accuracy"] if natural else [])])
    table = Table("", tuple(columns), marked(rows, directions))
    return Block(title[0].upper() + title[1:], " ".join(words), (table,))


def _published_blocks(section: Section, found: TaskFigures) -> list[Block]:
    beside, apart = compared(section, found.task)
    if not beside and not apart:
        return []
    tables = []
    for match in beside:
        columns, digits = match.table.columns, _digits(match.table.rows)
        rows = [
            Row(label, tuple(figure(curve.get(name), digits) for name in columns))
            for label, curve in match.ours.items()
        ]
        rows += [
            Row(f"{label}, published", tuple(plain(row.get(name), digits) for name in columns), Kind.PUBLISHED)
            for label, row in match.table.rows.items()
        ]
        titles = [SUMMARY_TITLES.get(name, f"{name} %" if name.isdigit() else name) for name in columns]
        notes = [match.table.note] if match.table.note else []
        if match.table.pruned:
            notes.append("Ours are measured in this table without those segments, too.")
        title = f"{match.table.title}; published: {match.table.source}"
        directions = {i: min if name == "avg_rel_drop" else max for i, name in enumerate(columns)}
        tables.append(Table(title, ("method", *titles), marked(rows, directions), tuple(notes)))
    if apart:
        others = [Row(out.table.source, (Cell(out.table.title), Cell(out.reason)), Kind.PUBLISHED) for out in apart]
        title = "Published on these data, but not to be set beside ours"
        tables.append(Table(title, ("source", "what", "because"), tuple(others), text_columns=2))
    text = (
        "Rows marked as published are printed in the papers named, by networks of theirs; they are here for scale. "
        "Ours train a small fusion on frozen encoders' tokens, and are measured on the "
        f"{found.n} segments that have every modality."
        if beside
        else "No published figures have the same task, measure and protocol."
    )
    return [Block("Beside published figures", text, tuple(tables))]


def _digits(rows: Mapping[str, Mapping[str, float]]) -> int:
    """As many as the paper prints."""
    return 2 if any(round(value, 1) != value for row in rows.values() for value in row.values()) else 1


def _runs_table(section: Section) -> Table:
    rows = []
    for method in section.methods:
        parents = {run.path.parent for run in method.runs}
        (above,) = parents if len(parents) == 1 else (Path(),)
        names = ", ".join(str(run.path.relative_to(above)) for run in method.runs)
        rows.append(
            Row(
                method.label,
                (Cell(", ".join(map(str, method.seeds))), Cell(names), Cell("" if above == Path() else str(above))),
            )
        )
    return Table("Where the figures come from", ("method", "seeds", "runs", "in"), tuple(rows), text_columns=3)
