"""The plots: each is one panel with its own legend, so that pages set them side by side or below each other."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from mmcache.fuse.report.draw.palette import GREY, style
from mmcache.fuse.report.read.figures import Curve, Spread
from mmcache.fuse.report.read.pareto import pareto

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

AT_ONCE = 6  # methods in the foreground of a panel
_WIDTH, _HEIGHT = 3.7, 2.8  # inches, without the legend
_LEGEND_LINE = 0.16  # inches
_SHORT = 20  # letters of a label of which two stand in a line
_LONG = 46  # letters in a line
_BEST = "best possible"


@dataclasses.dataclass(frozen=True)
class Plot:
    """A panel.

    Attributes:
        name: of its files, without ending.
        caption: what it shows, in words.
        draw: makes the figure; only called where plots are wanted.
    """

    name: str
    caption: str
    draw: Callable[[], "Figure"]


def curve_plots(
    name: str,
    title: str,
    axis: str,
    curves: Mapping[str, Curve],
    best: Mapping[str, float] | None,
    limits: tuple[float, float],
) -> list[Plot]:
    """Panels of at most AT_ONCE methods each, best ones first, the others grey behind them.

    Args:
        best: the best possible at each step, where it is known.
        limits: the lowest and the highest mean of all panels that are to be compared.
    """
    labels = list(curves)
    panels = -(-len(labels) // AT_ONCE)
    size = -(-len(labels) // panels)
    groups = [labels[i : i + size] for i in range(0, len(labels), size)]
    out = []
    for i, group in enumerate(groups, 1):
        told = f" ({i} of {len(groups)})" if len(groups) > 1 else ""
        out.append(
            Plot(
                _file_name(f"{name}-{i}" if len(groups) > 1 else name),
                f"Accuracy, {title}{told}: {', '.join(group)}",
                _drawing(title + told, axis, curves, group, best, limits),
            )
        )
    return out


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.-]+", "_", text)


def _drawing(
    title: str,
    axis: str,
    curves: Mapping[str, Curve],
    group: Sequence[str],
    best: Mapping[str, float] | None,
    limits: tuple[float, float],
) -> Callable[[], "Figure"]:
    def draw() -> "Figure":
        words = [*group, *([_BEST] if best is not None else [])]
        figure, axes = _panel(title, words)
        places = list(curves)
        handles: list[Line2D] = []
        for label in curves:
            if label not in group:
                x, y, _ = _points(curves[label])
                axes.plot(x, y, color=GREY, linewidth=0.8, zorder=1)
        for label in group:
            x, y, spread = _points(curves[label])
            look = style(places.index(label))
            low = [mean - std for mean, std in zip(y, spread, strict=True)]
            high = [mean + std for mean, std in zip(y, spread, strict=True)]
            axes.fill_between(x, low, high, color=look.colour, alpha=0.13, linewidth=0, zorder=2)
            handles += axes.plot(
                x, y, color=look.colour, marker=look.marker, linestyle=look.line, markersize=4.5, linewidth=1.4,
                markeredgecolor="white", markeredgewidth=0.5, zorder=3, clip_on=False,
            )  # fmt: skip
        if best is not None:
            x = [float(step) for step in best]
            handles += axes.plot(x, list(best.values()), color="#333333", linewidth=1.2, linestyle=(0, (1, 1)))
        bottom, top = limits
        if best is not None:
            top = max(top, *best.values())
        room = max(1.0, 0.06 * (top - bottom))
        axes.set(xlabel=axis, ylabel="accuracy (%)", ylim=(max(0.0, bottom - room), min(100.0, top + room)))
        steps = [float(step) for step in curves[group[0]]]
        axes.set_xticks(steps)
        _legend(figure, handles, words)
        return figure

    return draw


def cost_plot(name: str, axis: str, costs: Mapping[str, float], accuracies: Mapping[str, Spread | None]) -> Plot:
    """Mean accuracy against a cost, the Pareto front drawn through; methods on it have a star in the legend."""

    def draw() -> "Figure":
        means = {label: value for label, value in accuracies.items() if value is not None}
        front = pareto(costs, {label: value.mean for label, value in means.items()})
        words = ["Pareto front (*)", *(f"{label} *" if label in front else label for label in means)]
        figure, axes = _panel("mean over all subsets", words)
        line = axes.step(
            [costs[label] for label in front], [means[label].mean for label in front],
            where="post", color="#777777", linewidth=1.0, zorder=1,
        )  # fmt: skip
        handles = list(line)
        for place, label in enumerate(accuracies):
            if label not in means:
                continue
            look, value = style(place), means[label]
            if value.std is not None:
                axes.errorbar(costs[label], value.mean, yerr=value.std, color=look.colour, linewidth=0.9, zorder=2)
            handles += axes.plot(
                [costs[label]], [value.mean], color=look.colour, marker=look.marker, linestyle="", markersize=6,
                markeredgecolor="black" if label in front else "white", markeredgewidth=0.7,
                zorder=4 if label in front else 3,
            )  # fmt: skip
        _scale(axes, [costs[label] for label in means])
        axes.margins(0.08, 0.1)
        axes.set(xlabel=axis, ylabel="accuracy (%)")
        _legend(figure, handles, words)
        return figure

    return Plot(_file_name(name), f"Accuracy over all subsets against {axis}", draw)


def _scale(axes: "Axes", values: Sequence[float]) -> None:
    """A logarithmic axis with plain numbers, for values of different sizes."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = min(values), max(values)
    if not high > 3 * low > 0:
        return
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 60 * low else (1,), numticks=9))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _points(curve: Curve) -> tuple[list[float], list[float], list[float]]:
    """Steps, means, and standard deviations, 0 where there is none."""
    values = list(curve.values())
    return [float(step) for step in curve], [value.mean for value in values], [value.std or 0.0 for value in values]


def _panel(title: str, entries: Sequence[str]) -> tuple["Figure", "Axes"]:
    """A figure as high as its legend needs."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, _HEIGHT + _LEGEND_LINE * _legend_lines(entries)), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, fontsize=9, parse_math=False)
    axes.tick_params(labelsize=8)
    axes.xaxis.label.set(fontsize=8, parse_math=False)
    axes.yaxis.label.set_fontsize(8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e8e8e8", linewidth=0.6, zorder=0)
    axes.set_axisbelow(True)
    return figure, axes


def _columns(labels: Sequence[str]) -> int:
    return 2 if all(len(label) <= _SHORT for label in labels) else 1


def _legend_lines(labels: Sequence[str]) -> int:
    wrapped = sum(_wrapped(label).count("\n") for label in labels)
    return -(-len(labels) // _columns(labels)) + wrapped


def _wrapped(label: str) -> str:
    """A label in lines that a panel has room for, broken between words where it has some."""
    lines, line = [], ""
    for word in label.split(" "):
        for piece in [word[i : i + _LONG] for i in range(0, len(word), _LONG)] or [""]:
            if line and len(line) + 1 + len(piece) > _LONG:
                lines.append(line)
                line = piece
            else:
                line = f"{line} {piece}" if line else piece
    return "\n".join([*lines, line])


def _legend(figure: "Figure", handles: Sequence["Line2D"], labels: Sequence[str]) -> None:
    legend = figure.legend(
        handles, [_wrapped(label) for label in labels], loc="outside lower center", ncols=_columns(labels),
        frameon=False, fontsize=7.5, handlelength=2.6, columnspacing=1.2, labelspacing=0.35,
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)
