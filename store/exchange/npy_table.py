"""Convert segments.csv of a folder of .npy files to segments with integer labels and the metadata of a store."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmcache.store.exchange.import_summary import named
from mmcache.store.exchange.npy_form import ABOUT, CLASSES, SEE_FORM, TABLE
from mmcache.store.files.csv_table import read_csv_table
from mmcache.store.format.layout import StoreMeta
from mmcache.store.format.recommended import recommendations
from mmcache.store.ground.errors import ConfigError, Problems
from mmcache.store.ground.text import excerpt, strip_cell
from mmcache.store.segments.labels import read_labels
from mmcache.store.segments.segment_table import REQUIRED, check_segments, is_task_name
from mmcache.store.segments.splits import canonical_splits, choose_eval_split

_DIVISION = "split_"  # prefix of columns with other divisions of the segments, which are no labels
_TIME = re.compile("(?:[a-z]+_)?(?:start|begin|onset|stop|end|finish|offset)(?:_?(?:time|timestamp|frame|s|sec|ms))?")
_LIKE_SPLIT = ("subset", "partition", "set", "phase", "usage", "data_split")


def read_table(folder: Path, exported: bool) -> pd.DataFrame:
    """segments.csv as text; the names of its standard columns may have any case.

    White space and invisible marks around cells are removed, unless an export wrote the table.

    Raises:
        ConfigError: there are no segments, or they have no split.
    """
    file = folder / TABLE
    table = read_csv_table(file)
    table = table.rename(columns={name: name.casefold() for name in table.columns if name.casefold() in REQUIRED})
    if "split" not in table:
        near = [f"'{name}'" for name in table.columns if name.casefold() in _LIKE_SPLIT]
        hint = f" If {near[0]} holds the splits, name it 'split'" if near else ""
        raise ConfigError(f"{file} lacks the column split; it has {', '.join(table.columns)} ({SEE_FORM}).{hint}")
    if not exported:
        table = table.map(strip_cell)
        table = table[(table != "").any(axis=1)]
    if not len(table):
        raise ConfigError(f"{file} has no segments: there is nothing to import")
    return table


def make_segments(
    folder: Path, table: pd.DataFrame, about: dict[str, Any], tasks: list[str] | None
) -> tuple[pd.DataFrame, StoreMeta, list[str]]:
    """The segments with integer labels, the metadata, and notes for the user.

    Without spans, each segment is a one-second video.

    Args:
        table: from read_table, with ids.
        about: from npy_form.read_about.
        tasks: the label columns; None = those in mmcache.json, else those with a classes file, else all but times and
            other divisions.

    Raises:
        ConfigError: tasks, labels or splits have faults; all of them at once.
        StoreError: ids or spans have faults.
    """
    file, problems = folder / TABLE, Problems()
    kinds = about.get("columns", {})
    rest = [str(column) for column in table.columns if column not in REQUIRED]
    measured = [column for column in rest if _measured(table[column])]
    chosen = tasks or _default_tasks(folder, about, rest, measured)
    table = table.assign(split=canonical_splits(table["split"], str(file), problems))
    classes = {}
    for task in chosen:
        if task not in rest:
            problems.add(f"task '{task}' is no column of {file}; there are: {', '.join(rest) or 'none'}")
        elif not is_task_name(task):
            problems.add(f"'{task}' cannot name a task: use lower-case letters, digits and '_'")
        else:
            listed = folder / CLASSES / f"{task}.txt"
            classes[task], table[task] = read_labels(
                table[task], listed, problems, f"{TABLE} line {{}}".format, names_may_be_numbers="columns" not in about
            )
    extras = [column for column in rest if column not in classes]
    for column in extras:
        table[column] = _restored(table[column], kinds.get(column), file, problems)
    spans = _spans(table, file, problems)
    problems.raise_if_any()
    table = table.assign(**spans, video=table["video"] if "video" in table else table["id"])
    splits = {str(split): int(n) for split, n in sorted(table["split"].value_counts().items())}
    asked = tasks is not None or "tasks" in about
    notes = [] if asked else _label_notes(classes, len(table))
    meta = StoreMeta(
        dataset=about.get("dataset", folder.resolve().name),
        tasks=classes,
        splits=splits,
        eval_split=choose_eval_split(about.get("eval_split"), splits),
        recommended=recommendations(about.get("recommended", {}), str(folder / ABOUT), notes),
    )
    table = check_segments(table[[*REQUIRED, *classes, *extras]], classes)  # before anything is written
    times = [column for column in extras if _TIME.fullmatch(column.casefold())]
    measured = [column for column in measured if column in extras and column not in times]
    if measured and not asked:
        notes.append(f"{named(measured)}: kept as columns; numbers with fractions are no labels")
    if times and "columns" not in about:
        notes.append(f"{named(times)}: kept as columns; the times of a segment are read from start_s and stop_s")
    return table, meta, notes


def _spans(table: pd.DataFrame, file: Path, problems: Problems) -> dict[str, Any]:
    """start_s and stop_s as numbers; without these columns, 0 and 1 second."""
    spans: dict[str, Any] = {"start_s": 0.0, "stop_s": 1.0}
    for column in spans:
        if column in table:
            spans[column] = _floats(table[column])
            wrong = spans[column].isna()
            if wrong.any():
                line, cell = wrong.index[wrong][0], excerpt(table[column][wrong].iloc[0])
                problems.add(f"{file} line {line}: {column} {cell} is no number of seconds ({int(wrong.sum())} such)")
    return spans


def _default_tasks(folder: Path, about: dict[str, Any], columns: list[str], measured: list[str]) -> list[str]:
    if "tasks" in about:
        return list(about["tasks"])
    listed = {path.stem for path in (folder / CLASSES).glob("*.txt")}
    return [column for column in columns if column in listed] or [
        column
        for column in columns
        if not column.startswith(_DIVISION) and not _TIME.fullmatch(column.casefold()) and column not in measured
    ]


def _measured(column: pd.Series) -> bool:
    """Whether the cells are numbers, some with fractions: measurements, no labels."""
    numbers = _floats(column[column != ""])
    return bool(len(numbers) and numbers.notna().all() and (numbers % 1 != 0).any())


def _label_notes(classes: dict[str, list[str]], n: int) -> list[str]:
    """Notes on which columns are labels, and which of these may be something else."""
    if not classes:
        return ["no column holds labels: `mmcache fuse` has nothing to learn"]
    said = ", ".join(f"{task} ({len(names)} classes)" for task, names in classes.items())
    notes = [f"labels: {said}; --tasks names others"]
    odd = [task for task, names in classes.items() if n > 2 and len(names) >= n]
    if odd:
        notes.append(f"{named(odd)} has as many classes as there are segments: if it holds no labels, use --tasks")
    return notes


def _restored(column: pd.Series, kind: str | None, file: Path, problems: Problems) -> pd.Series:
    """A column in its original type: as mmcache.json says, else numbers or truth values if every cell is one."""
    numbers = _floats(column)
    if kind == "number" or (kind is None and numbers.notna().all() and not column.str.fullmatch("-?0[0-9]+").any()):
        wrong = numbers.isna() & ~column.str.strip().str.casefold().isin(["", "nan"])
        if wrong.any():
            line, cell = wrong.index[wrong][0], column[wrong].iloc[0]
            problems.add(f"{file} line {line}: '{cell}' in column '{column.name}' is no number")
        whole = pd.to_numeric(column, errors="coerce")
        return whole if whole.dtype.kind in "iu" else numbers
    truths = column.isin(["True", "False"])
    if kind == "truth" and not truths.all():
        line, cell = truths.index[~truths][0], column[~truths].iloc[0]
        problems.add(f"{file} line {line}: '{cell}' in column '{column.name}' is neither True nor False")
    return column == "True" if kind == "truth" or (kind is None and truths.all()) else column.astype(str)


def _floats(column: pd.Series) -> pd.Series:
    """The numbers in text cells with full precision, NaN for other cells."""

    def number(cell: str) -> float:
        try:
            return float(cell) if "_" not in cell else float("nan")
        except ValueError:
            return float("nan")

    return column.map(number).astype(np.float64)
