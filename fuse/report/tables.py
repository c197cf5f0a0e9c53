"""Tables as every format shows them: text in cells, with marks for what is best and for what cannot be."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum

from mmcache.fuse.report.read.figures import Spread


class Kind(StrEnum):
    """Whose figures a row has."""

    OURS = "ours"
    PUBLISHED = "published"
    POSSIBLE = "possible"


@dataclasses.dataclass(frozen=True)
class Cell:
    """One figure.

    Attributes:
        text: as it is printed, without spread.
        spread: the standard deviation as it is printed, '' for none.
        best: among the rows of its column that are ours.
        beyond: above the best possible by more than chance gives.
        strength: 0..1 within the table, for a background; None for none.
    """

    text: str
    spread: str = ""
    best: bool = False
    beyond: bool = False
    strength: float | None = None


@dataclasses.dataclass(frozen=True)
class Row:
    label: str
    cells: tuple[Cell, ...]
    kind: Kind = Kind.OURS


@dataclasses.dataclass(frozen=True)
class Table:
    """A title, columns whose first names the rows, and notes below.

    Attributes:
        text_columns: how many columns after the first hold words, which are set to the left.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    text_columns: int = 0

    @property
    def spreads(self) -> bool:
        return any(cell.spread for row in self.rows for cell in row.cells)


NOTHING = Cell("–")


def number(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def figure(value: Spread | None, digits: int = 1) -> Cell:
    """Mean, and standard deviation where there are several runs."""
    if value is None:
        return NOTHING
    return Cell(number(value.mean, digits), "" if value.std is None else number(value.std, digits))


def plain(value: float | None, digits: int = 1) -> Cell:
    return NOTHING if value is None else Cell(number(value, digits))


def marked(rows: Sequence[Row], better: Mapping[int, Callable[[Iterable[float]], float]]) -> tuple[Row, ...]:
    """The rows with the best of ours marked in some columns, all of those that print the same.

    Args:
        better: index of a cell -> max or min.
    """
    ours = [row for row in rows if row.kind == Kind.OURS]
    if len(ours) < 2:
        return tuple(rows)
    best = {}
    for index, choose in better.items():
        values = [float(row.cells[index].text) for row in ours if row.cells[index] is not NOTHING]
        if values:
            best[index] = choose(values)

    def mark(row: Row) -> Row:
        cells = [
            dataclasses.replace(cell, best=True)
            if row.kind == Kind.OURS and index in best and cell is not NOTHING and float(cell.text) == best[index]
            else cell
            for index, cell in enumerate(row.cells)
        ]
        return dataclasses.replace(row, cells=tuple(cells))

    return tuple(mark(row) for row in rows)


def shaded(rows: Sequence[Row], columns: range) -> tuple[Row, ...]:
    """The rows with a strength in some columns, from the lowest figure there to the highest."""
    found = [float(row.cells[i].text) for row in rows for i in columns if row.cells[i] is not NOTHING]
    low, high = min(found, default=0.0), max(found, default=0.0)
    if high <= low:
        return tuple(rows)

    def shade(index: int, cell: Cell) -> Cell:
        if index not in columns or cell is NOTHING:
            return cell
        return dataclasses.replace(cell, strength=(float(cell.text) - low) / (high - low))

    return tuple(dataclasses.replace(row, cells=tuple(shade(i, c) for i, c in enumerate(row.cells))) for row in rows)
