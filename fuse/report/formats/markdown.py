"""A report as Markdown, with GitHub's tables."""

import re
from collections.abc import Callable

from mmcache.fuse.report.blocks import Report
from mmcache.fuse.report.draw.plots import Plot
from mmcache.fuse.report.tables import Cell, Kind, Row, Table
from mmcache.store.ground.text import printable

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~$&])")


def to_markdown(report: Report, picture: Callable[[Plot], str] | None = None) -> str:
    """The report as text.

    Args:
        picture: the address of a plot's file; None leaves plots out.
    """
    lines = [f"# {escape(report.title)}", "", escape(report.text), ""]
    for part in report.parts:
        lines += [f"## {escape(part.title)}", "", escape(part.text), ""]
        for task in part.tasks:
            lines += [f"### {escape(task.task)}", ""]
            for block in task.blocks:
                lines += [f"#### {escape(block.title)}", "", escape(block.text), ""]
                for table in block.tables:
                    lines += _table(table)
                if picture is not None:
                    lines += [f"![{escape(plot.caption)}](<{picture(plot)}>)" for plot in block.plots]
                    lines += [""] if block.plots else []
        lines += _table(part.runs)
    if report.left_out:
        lines += _table(report.left_out_table)
    return "\n".join(lines).rstrip() + "\n"


def escape(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return _SPECIAL.sub(r"\\\1", printable(" ".join(text.split())))


def _table(table: Table) -> list[str]:
    lines = [f"**{escape(table.title)}**", ""] if table.title else []
    words = 1 + table.text_columns
    rule = ["---" if i < words else "--:" for i in range(len(table.columns))]
    lines += [_line([escape(column) for column in table.columns]), _line(rule)]
    lines += [_line([_label(row), *map(_cell, row.cells)]) for row in table.rows]
    for note in table.notes:
        lines += ["", escape(note)]
    return [*lines, ""]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _label(row: Row) -> str:
    return escape(row.label) if row.kind == Kind.OURS else f"*{escape(row.label)}*"


def _cell(cell: Cell) -> str:
    text = escape(cell.text)
    if cell.best:
        text = f"**{text}**"
    return text + (f" ± {cell.spread}" if cell.spread else "") + (" †" if cell.beyond else "")
