"""Figures that papers print, from published.yaml. Nothing there is ours."""

import dataclasses
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import yaml


@dataclasses.dataclass(frozen=True)
class Published:
    """One printed table.

    Attributes:
        source: the paper, as a reader would look for it.
        dataset, task: by our names.
        measure: subsets (columns are subsets), rates, drops (columns are percent), summary, zero-shot or few-shot.
        modalities: those the methods were built for, by our names; none where that is not stated.
        rows: method -> column -> top-1 in percent, or a summary's name -> its value.
        classes: task -> how many classes there are, where that is known.
        missing: for rates, the modality that is missing.
        protocol: the division, by our name; None = the data set's usual one.
        pruned: segments whose noun never occurs in train are left out.
        note: what the reader should know of the figures.
        apart: why no run of ours can be set beside it; '' where one can.
    """

    source: str
    title: str
    dataset: str
    task: str
    measure: str
    modalities: tuple[str, ...]
    rows: Mapping[str, Mapping[str, float]]
    classes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    missing: str = ""
    protocol: str | None = None
    pruned: bool = False
    note: str = ""
    apart: str = ""

    @property
    def columns(self) -> list[str]:
        return list(dict.fromkeys(name for row in self.rows.values() for name in row))


def _table(source: str, saved: dict[str, Any]) -> Published:
    columns = saved.pop("columns")
    rows = {method: _row(columns, figures) for method, figures in saved.pop("rows").items()}
    modalities, note = tuple(saved.pop("modalities")), " ".join(saved.pop("note", []))
    return Published(source=source, rows=rows, modalities=modalities, note=note, **saved)


def _row(columns: Sequence[str], figures: str | float) -> dict[str, float]:
    """Figures as papers print them, in the order of the columns, - where one is not printed."""
    each = zip(columns, str(figures).split(), strict=True)
    return {column: float(figure) for column, figure in each if figure != "-"}


_SAVED = yaml.safe_load(resources.files(__package__).joinpath("published.yaml").read_text("utf-8"))
TABLES = tuple(_table(source, table) for source, tables in _SAVED["sources"].items() for table in tables)
