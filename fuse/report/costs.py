"""What methods cost, and which of them are worth it: accuracy against cost, with the Pareto front."""

import statistics

from mmcache.fuse.report.blocks import Block
from mmcache.fuse.report.draw.plots import Plot, cost_plot
from mmcache.fuse.report.read.figures import TaskFigures
from mmcache.fuse.report.read.methods import Method, Section
from mmcache.fuse.report.read.pareto import pareto
from mmcache.fuse.report.tables import NOTHING, Cell, Row, Table, figure

# The costs that have a plot: key, axis.
_PLOTTED = {"mflops": "MFLOPs a segment, with every modality", "parameters": "parameters (thousand)"}


def cost_blocks(name: str, section: Section, found: TaskFigures) -> list[Block]:
    """A block where any run knows its cost; none otherwise."""
    costs = {method.label: cost_of(method) for method in section.methods}
    known = {label: cost for label, cost in costs.items() if cost is not None}
    if not known:
        return []
    accuracy = {label: found.summary[label]["avg_acc"] for label in known}
    means = {label: value.mean for label, value in accuracy.items() if value is not None}
    front = pareto({label: cost["mflops"] for label, cost in known.items()}, means)
    rows = []
    for method in section.methods:
        cost = costs[method.label]
        if cost is None:
            rows.append(Row(method.label, (NOTHING,) * 7))
            continue
        rows.append(
            Row(
                method.label,
                (
                    figure(accuracy[method.label]),
                    _digits(cost["mflops"]),
                    Cell("yes" if method.label in front else ""),
                    _digits(cost["parameters"]),
                    _digits(cost["latency_ms"]),
                    _digits(cost["memory_mb"]),
                    Cell(_devices(method)),
                ),
            )
        )
    columns = ("method", "mean", "MFLOPs", "front", "k params", "ms", "MB", "on")
    missing = len(costs) - len(known)
    notes = (f"{missing} of the methods have no cost in their summary: `mmcache evaluate --cost` tells it.",)
    table = Table("", columns, tuple(rows), notes if missing else ())
    text = (
        "Of the fusion alone, on one segment with every modality; the encoders are not in it. mean: accuracy over all "
        "subsets. front: no other method is as good for fewer FLOPs. Milliseconds and peak memory are those of the "
        "device named, and of whatever else it did."
    )
    plots: list[Plot] = [
        cost_plot(f"{name}-cost-{key}", axis, {label: cost[key] for label, cost in known.items()}, accuracy)
        for key, axis in _PLOTTED.items()
    ]
    return [Block("Accuracy against cost", text, (table,), tuple(plots))]


def cost_of(method: Method) -> dict[str, float] | None:
    """Thousand parameters; MFLOPs, milliseconds and MB of a segment with every modality. Medians over the seeds."""
    found = [run.cost for run in method.runs if run.cost is not None]
    if not found:
        return None
    full = [max(cost["subsets"].items(), key=lambda pair: pair[0].count("+"))[1] for cost in found]
    return {
        "parameters": statistics.median(cost["parameters"] for cost in found) / 1e3,
        "mflops": statistics.median(figures["flops"] for figures in full) / 1e6,
        "latency_ms": statistics.median(figures["latency_ms"] for figures in full),
        "memory_mb": statistics.median(figures["peak_memory_bytes"] for figures in full) / 1e6,
    }


def _devices(method: Method) -> str:
    return ", ".join(sorted({str(run.cost["device"]) for run in method.runs if run.cost is not None}))


def _digits(value: float) -> Cell:
    """With three digits that count."""
    return Cell(f"{value:.0f}" if value >= 100 else f"{value:#.3g}")
