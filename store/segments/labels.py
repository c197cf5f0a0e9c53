"""Convert a column of labels, numbers or class names, to whole numbers and a list of class names."""

import difflib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmcache.store.files.text_file import read_text
from mmcache.store.ground.errors import ConfigError, Problems
from mmcache.store.ground.text import excerpt
from mmcache.store.segments.segment_table import UNLABELLED

_FEW_CLASSES = 1000  # labels may go up to this whatever the number of segments
_LIMIT_BYTES = 64 << 20  # of a classes file
_NO_LABEL = ["", "-1", "-1.0"]
_BOM = "\ufeff"
# What programs write for a missing value. 'none' is not in the list, because it may be the name of a class.
_MISSING = frozenset(
    [
        "NaN",
        "nan",
        "NAN",
        "-NaN",
        "-nan",
        "NA",
        "N/A",
        "n/a",
        "#N/A",
        "#NA",
        "<NA>",
        "NULL",
        "Null",
        "null",
        "None",
        "NaT",
        "<undefined>",  # MATLAB's categorical
        "<missing>",
        "1.#IND",
        "-1.#IND",
        "1.#QNAN",
        "-1.#QNAN",
        "#DIV/0!",  # spreadsheets
        "#NAME?",
        "#NULL!",
        "#NUM!",
        "#REF!",
        "#VALUE!",
    ]
)
# [1, 2], ['a', 'b'], [0 1 0] and {'verb': 1} as programs write them, not a class such as [noise].
_SEVERAL = re.compile(r"""\[\s*(?:['"\d.-].*)?\]|\{\s*(?:['"\d.-].*)?\}""", re.DOTALL)


def is_missing(cell: str) -> bool:
    """Whether a cell holds a word that programs write for a missing value."""
    return cell in _MISSING


def read_labels(
    column: "pd.Series[str]",
    classes: Path,
    problems: Problems,
    place: Callable[[Any], str] = "row {}".format,
    names_may_be_numbers: bool = True,
) -> tuple[list[str], "pd.Series[int]"]:
    """Class names, and a whole number for each segment, -1 where the cell is empty or -1.

    Whole numbers are labels, other values are class names. The names come from the `classes` file, one a line; without
    it, they are the numbers up to the largest, or the sorted values. Numbers that the file lists are class names too.

    Args:
        problems: collects faults: a name or number that the file does not list, labels below -1 or too large for the
            number of segments. Unless the file lists them, also values that are probably no classes: words such as
            NaN that programs write for missing values, numbers that are not whole, several labels in one cell, and
            names that differ only in case or white space.
        place: index of the column -> place in the file, for messages.
        names_may_be_numbers: False = numbers are labels even if the file lists them as names, as in an export.
    """
    values = column.fillna("").astype(str).str.strip()
    listed = _read_classes(classes, problems)
    absent = values.isin(_MISSING - set(listed or ()))
    if absent.any():
        problems.add(
            f"column '{column.name}' has '{values[absent].iloc[0]}' in {_first(absent, place)}: leave the cell empty "
            f"where there is no label; if it is a class, list the classes in {classes}"
        )
        values = values.where(~absent, "")
    empty = values.isin(_NO_LABEL)
    if listed is None:
        _check_unlisted(values.where(~empty, ""), column.name, classes, problems, place)
    numbers = pd.to_numeric(values.where(~empty), errors="coerce")
    numeric = bool(numbers[~empty].notna().all() and (numbers[~empty] % 1 == 0).all())
    if numeric and listed is not None and names_may_be_numbers and not empty.all():
        numeric = not set(values[~empty]) <= set(listed)
    if numeric:
        names = _names_of_numbers(numbers, values, listed, classes, problems, place)
    else:
        names = sorted(set(values[~empty])) if listed is None else listed
        _check_listed(values, names, classes, problems, place)
        numbers = values.map({name: label for label, name in enumerate(names)})
    return names, numbers.fillna(UNLABELLED).clip(lower=UNLABELLED).astype(np.int64)


def _names_of_numbers(
    numbers: "pd.Series[float]",
    values: "pd.Series[str]",
    listed: list[str] | None,
    classes: Path,
    problems: Problems,
    place: Callable[[Any], str],
) -> list[str]:
    """Class names of labels that are whole numbers, NaN for none: those listed, else the numbers up to the largest."""
    highest = -1 if numbers.isna().all() else int(numbers.max())
    below = numbers < UNLABELLED
    if below.any():
        problems.add(
            f"column '{values.name}' has the label {excerpt(values[below].iloc[0])} in {_first(below, place)}: "
            "labels are 0 or more, and -1 or an empty cell is no label"
        )
    if listed is not None:
        if highest >= len(listed):
            beyond = numbers >= len(listed)
            problems.add(
                f"column '{values.name}' has the label {values[beyond].iloc[0]} in {_first(beyond, place)}, but "
                f"{classes} lists {len(listed)} classes, 0 to {len(listed) - 1}"
            )
        return listed
    if highest > max(_FEW_CLASSES, 10 * len(values)):
        problems.add(f"column '{values.name}' has labels up to {excerpt(highest)} for {len(values)} segments")
        return []
    return [str(label) for label in range(highest + 1)]


def _check_listed(
    values: "pd.Series[str]", names: list[str], classes: Path, problems: Problems, place: Callable[[Any], str]
) -> None:
    """Add problems for values that are not in `names`, and for names that occur and are listed twice."""
    unknown = ~values.isin([*_NO_LABEL, *names])
    if unknown.any():
        name = values[unknown].iloc[0]
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        problems.add(
            f"column '{values.name}' has '{name}' in {_first(unknown, place)}, which {classes} does not list{hint}"
        )
    twice = sorted(name for name, count in Counter(names).items() if count > 1 and (values == name).any())
    if twice:
        problems.add(f"{classes} lists '{twice[0]}' twice, and column '{values.name}' has that name")


def _check_unlisted(
    values: "pd.Series[str]", column: object, classes: Path, problems: Problems, place: Callable[[Any], str]
) -> None:
    """Add problems for values that would become classes although they probably are none."""
    distinct = [value for value in values.unique() if value]
    several = values.map(lambda value: _SEVERAL.fullmatch(value) is not None)
    if several.any():
        problems.add(
            f"column '{column}' has {excerpt(values[several].iloc[0])} in {_first(several, place)}: a segment has one "
            f"label of a task; give each its own column, such as label_verb and label_noun. If it is one class, list "
            f"the classes in {classes}"
        )
        return
    numbers = pd.to_numeric(pd.Series(distinct, dtype=object), errors="coerce")
    if len(numbers) and numbers.notna().all() and (numbers % 1 != 0).any():
        fractions = values.isin([value for value, odd in zip(distinct, numbers % 1 != 0, strict=True) if odd])
        problems.add(
            f"column '{column}' has the number {values[fractions].iloc[0]} in {_first(fractions, place)}: labels are "
            f"classes, numbered by whole numbers. If the column holds no labels, rename it; if each number is the name "
            f"of a class, list them in {classes}"
        )
        return
    if numbers.notna().all():
        return
    same: dict[str, str] = {}
    pairs = [(first, value) for value in distinct if (first := same.setdefault(_plain(value), value)) != value]
    if pairs:
        first, other = pairs[0]
        where = place(values[values == other].index[0])
        more = f" ({len(pairs)} such)" if len(pairs) > 1 else ""
        problems.add(
            f"column '{column}' has {excerpt(first)} and, in {where}, {excerpt(other)}{more}, which would be two "
            f"classes: write them alike, or list the classes in {classes}"
        )


def _plain(name: str) -> str:
    """A class name reduced for comparison: case, white space, composed letters and forms of numbers are unified."""
    words = " ".join(unicodedata.normalize("NFC", name).casefold().split())
    number = re.fullmatch(r"(-?)0*(\d+?)(?:\.0*)?", words, re.ASCII)
    return number[1] + number[2] if number else words


def _first(wrong: "pd.Series[bool]", place: Callable[[Any], str]) -> str:
    """The place of the first wrong row, and the count if there are several."""
    count = int(wrong.sum())
    return place(wrong.index[wrong][0]) + (f" ({count} such)" if count > 1 else "")


def _read_classes(path: Path, problems: Problems) -> list[str] | None:
    """The names in a classes file, or None when there is no file or it cannot be read."""
    if not path.exists():
        return None
    try:
        lines = read_text(path, _LIMIT_BYTES, "text").replace("\r\n", "\n").removesuffix("\n")
    except ConfigError as error:
        problems.add(str(error))
        return None
    return [unescaped(line) for line in lines.split("\n")] if lines else []


def escaped(name: str) -> str:
    """A class name as one line of a classes file: a line break in it becomes \\n, a byte order mark \\ufeff."""
    return json.dumps(name, ensure_ascii=False)[1:-1].replace(_BOM, "\\ufeff")


def unescaped(line: str) -> str:
    """The class name of a line that `escaped` wrote; any other line is taken as the class name."""
    try:
        return str(json.loads(f'"{line}"'))
    except ValueError:
        return line
