"""A report as one HTML file that needs nothing else: no network, no scripts, the plots as SVG within."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from mmcache.fuse.report.blocks import Report
from mmcache.fuse.report.draw.plots import Plot
from mmcache.fuse.report.tables import Cell
from mmcache.fuse.runs.drawing import inline_svg
from mmcache.store.ground.text import printable

_HERE = Path(__file__).parent


def to_html(report: Report, svg: Callable[[Plot], str]) -> str:
    """The report as a page.

    Args:
        svg: a plot as an SVG document.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_plain
    )
    environment.filters |= {"breakable": _breakable, "shade": _shade}
    count = 0

    def inline(plot: Plot) -> Markup:
        nonlocal count
        count += 1
        return Markup(inline_svg(svg(plot), f"p{count}-"))  # made by matplotlib, which escapes what it is given

    template = environment.from_string((_HERE / "page.html.jinja").read_text())
    style = Markup((_HERE / "page.css").read_text())
    return template.render(report=report, style=style, inline=inline)


def _plain(value: Any) -> Any:
    """What a template prints: text from data with its control characters as escapes."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _breakable(text: str) -> Markup:
    """Long names may go on in another line after a sign that joins words."""
    out = Markup("")
    for character in printable(text):
        out += character
        if character in "+,/_":
            out += Markup("<wbr>")
    return out


def _shade(cell: Cell) -> Markup:
    """The class of a background, from the lowest figure of the table to the highest."""
    return Markup("" if cell.strength is None else f"s{round(9 * cell.strength)}")
