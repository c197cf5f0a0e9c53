"""Labels as people keep them in tables, numbers or names of classes, to whole numbers and class names."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from mmcache.store.errors import Problems
from mmcache.store.segments import UNLABELLED

_FEW_CLASSES = 1000  # labels may go up to this whatever the number of segments


def read_labels(column: "pd.Series[str]", classes: Path, problems: Problems) -> tuple[list[str], "pd.Series[int]"]:
    """Class names, and a whole number for each segment, -1 where the cell is empty.

    Numbers stand for themselves, other values are names of classes. With a `classes` file, one name a line, the names
    are its lines; else the numbers up to the largest, or the sorted values.

    Args:
        problems: gets what is wrong: a name the file does not list, or labels too large for the number of segments.
    """
    values = column.fillna("").astype(str).str.strip()
    empty = values == ""
    numbers = pd.to_numeric(values.where(~empty), errors="coerce")
    numeric = bool(numbers[~empty].notna().all() and (numbers[~empty] % 1 == 0).all())
    if classes.exists():
        try:
            lines = classes.read_bytes().decode("utf-8").replace("\r\n", "\n").removesuffix("\n")
            names = [unescaped(line) for line in lines.split("\n")] if lines else []
        except ValueError as error:
            problems.add(f"{classes} is no text in UTF-8: {error}")
            return [], pd.Series(UNLABELLED, index=column.index)
    elif numeric:
        highest = -1 if empty.all() else int(numbers.max())
        if highest > max(_FEW_CLASSES, 10 * len(column)):
            problems.add(f"column '{column.name}' has labels up to {highest} for {len(column)} segments")
            highest = -1
        names = [str(label) for label in range(highest + 1)]
    else:
        names = sorted(set(values[~empty]))
    if not numeric:
        unknown = sorted(set(values[~empty]) - set(names))
        if unknown:
            more = f" ({len(unknown)} such)" if len(unknown) > 1 else ""
            problems.add(f"column '{column.name}' has '{unknown[0]}', which {classes} does not list{more}")
        numbers = values.map({name: label for label, name in enumerate(names)})
    return names, numbers.fillna(UNLABELLED).astype(np.int64)


def escaped(name: str) -> str:
    """A class name as one line of a classes file: a line break in it becomes \\n."""
    return json.dumps(name, ensure_ascii=False)[1:-1]


def unescaped(line: str) -> str:
    """The class name of such a line; a line that is none of ours is the name itself."""
    try:
        return str(json.loads(f'"{line}"'))
    except ValueError:
        return line
