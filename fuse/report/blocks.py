"""The parts a report is made of."""

import dataclasses

from mmcache.fuse.report.draw.plots import Plot
from mmcache.fuse.report.read.figures import TaskFigures
from mmcache.fuse.report.read.found import LeftOut
from mmcache.fuse.report.read.methods import Section
from mmcache.fuse.report.tables import Cell, Row, Table


@dataclasses.dataclass(frozen=True)
class Block:
    """Some tables and plots that tell one thing."""

    title: str
    text: str
    tables: tuple[Table, ...] = ()
    plots: tuple[Plot, ...] = ()


@dataclasses.dataclass(frozen=True)
class TaskPart:
    """One task of a section."""

    task: str
    figures: TaskFigures
    blocks: tuple[Block, ...]


@dataclasses.dataclass(frozen=True)
class SectionPart:
    """Methods on the same segments, task by task, and the runs behind them.

    Attributes:
        title: of the section, numbered where several have the same.
    """

    title: str
    section: Section
    text: str
    tasks: tuple[TaskPart, ...]
    runs: Table


@dataclasses.dataclass(frozen=True)
class Report:
    """A whole report."""

    title: str
    text: str
    parts: tuple[SectionPart, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def left_out_table(self) -> Table:
        rows = [Row(str(out.path), (Cell(out.kind), Cell(out.reason))) for out in self.left_out]
        return Table("Folders that are in no table", ("folder", "", "why"), tuple(rows), text_columns=2)
