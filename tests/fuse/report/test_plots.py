"""Plots: looks that tell methods apart, nothing cut off or overlapping, and SVG that needs nothing from outside."""

import re
import xml.etree.ElementTree as ElementTree
from itertools import combinations
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from mmcache.fuse.report import make_report, write
from mmcache.fuse.report.draw.palette import style
from mmcache.fuse.report.draw.plots import AT_ONCE, Plot, cost_plot, curve_plots
from mmcache.fuse.report.read.figures import Spread
from mmcache.fuse.runs.drawing import inline_svg, to_svg

LONG = "karmma drop=0.5 train_missing=audio:0.25,rgb:0.125 vicreg_terms=25,25,1 lr=0.0001 width=384"


def curves(count: int, long: bool = False) -> dict[str, dict[str, Spread]]:
    names = [f"method-{i}" if not long else f"{LONG} {i}" for i in range(count)]
    return {
        name: {str(r): Spread(80 - 2 * i - r / 3, 1.5, 3) for r in (0, 25, 50, 75, 100)} for i, name in enumerate(names)
    }


def panels() -> list[Plot]:
    """Panels of one method, of a full one, of many methods, and of long names that are no mathematics."""
    out = []
    for count, long in ((1, False), (AT_ONCE, False), (24, False), (3, True)):
        found = curves(count, long)
        best = {str(r): 90.0 - r / 4 for r in (0, 25, 50, 75, 100)}
        out += curve_plots(f"rates-{count}-{long}", "$a missing", "segments without $a_b (%)", found, best, (20, 81))
        costs = {name: 10.0 ** (i % 5) for i, name in enumerate(found)}
        out.append(cost_plot(f"cost-{count}-{long}", "MFLOPs", costs, {n: c["0"] for n, c in found.items()}))
    return out


def test_no_two_methods_look_alike() -> None:
    looks = [style(place) for place in range(100)]
    assert len(set(looks)) == 100
    for first, other in combinations(looks[:AT_ONCE], 2):
        assert first.colour != other.colour
        assert first.marker != other.marker


@pytest.mark.parametrize("plot", panels(), ids=lambda plot: plot.name)
def test_nothing_is_cut_off_or_overlaps(plot: Plot) -> None:
    figure = plot.draw()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    (axes,) = figure.axes
    (legend,) = figure.legends
    whole = figure.bbox
    ticks = [label for label in axes.get_xticklabels() if label.get_text() and label.get_visible()]
    low, high = axes.get_xlim()
    ticks = [t for t in ticks if low <= t.get_position()[0] <= high]
    parts = [axes.title, axes.xaxis.label, axes.yaxis.label, legend, *ticks, *legend.get_texts()]
    for part in parts:
        box = part.get_window_extent(renderer)
        assert box.x0 >= -1, part
        assert box.y0 >= -1, part
        assert box.x1 <= whole.x1 + 1, part
        assert box.y1 <= whole.y1 + 1, part
    boxes = [text.get_window_extent(renderer) for text in (*ticks, *legend.get_texts(), axes.xaxis.label, axes.title)]
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    assert axes.get_window_extent(renderer).height > 100


def test_every_method_is_in_the_foreground_of_one_panel() -> None:
    found = curves(20)
    plots = curve_plots("rates", "a missing", "x", found, None, (0, 80))
    shown = [text.get_text() for plot in plots for text in plot.draw().legends[0].get_texts()]
    assert shown == list(found)


def test_the_page_s_svg_has_no_addresses_and_ids_of_its_own() -> None:
    plots = panels()[:2]
    drawn = [inline_svg(to_svg(plot.draw()), f"p{i}-") for i, plot in enumerate(plots)]
    for i, text in enumerate(drawn):
        assert "http" not in text
        assert "<metadata" not in text
        tree = ElementTree.fromstring(text)
        ids = [element.get("id") for element in tree.iter() if element.get("id")]
        assert all(name.startswith(f"p{i}-") for name in ids)
        used = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text)
        assert used
        assert {one or other for one, other in used} <= set(ids)


def test_files_are_the_same_when_made_again(many_runs: Path, tmp_path: Path) -> None:
    report = make_report([many_runs / "four-0", many_runs / "four-1"])
    first, again = (write(report, tmp_path / name) for name in ("first", "again"))
    assert len(first) == len(again) > 10
    for one, other in zip(first, again, strict=True):
        assert one.read_bytes() == other.read_bytes(), one
    text = (tmp_path / "first" / "report.md").read_text()
    linked = re.findall(r"!\[.*?\]\(<(.*?)>\)", text)
    assert linked
    assert all((tmp_path / "first" / name).is_file() for name in linked)
