"""Blocks of curves: a modality missing in so many segments, and every modality missing with a chance."""

from collections.abc import Iterable, Mapping

from mmcache.fuse.report.blocks import Block
from mmcache.fuse.report.draw.plots import AT_ONCE, Plot, curve_plots
from mmcache.fuse.report.read.figures import Curve, TaskFigures
from mmcache.fuse.report.tables import Kind, Row, Table, figure, marked, plain


def _grey(found: TaskFigures) -> str:
    return " Grey lines are the other methods." if len(found.subsets) > AT_ONCE else ""


def rates_block(name: str, found: TaskFigures) -> Block:
    """A table and plots for each modality that may be missing."""
    tables: list[Table] = []
    plots: list[Plot] = []
    low, high = _limits([curve for by_method in found.rates.values() for curve in by_method.values()])
    for modality, by_method in found.rates.items():
        rates = list(next(iter(by_method.values())))
        best = found.possible.rate_curve(modality, rates) if found.possible is not None else None
        tables.append(_table(f"{modality} missing in this share of the segments", by_method, best))
        plots += curve_plots(
            f"{name}-missing-{modality}",
            f"{modality} missing",
            f"segments without {modality} (%)",
            by_method,
            best,
            (low, high),
        )
    text = (
        "So many percent of the segments lack one modality, the same segments for every method; those at a lower rate "
        "are among those at a higher one. Bands are one standard deviation over seeds."
    )
    return Block("Missing rates", text + _grey(found), tuple(tables), tuple(plots))


def drops_block(name: str, found: TaskFigures) -> Block:
    """One table, and plots."""
    drops = list(next(iter(found.drops.values())))
    best = found.possible.drop_curve(drops) if found.possible is not None else None
    plots = curve_plots(
        f"{name}-drop",
        "each modality may be missing",
        "chance that a modality is missing (%)",
        found.drops,
        best,
        _limits(found.drops.values()),
    )
    text = (
        "Each modality is missing with this chance, independently of the others; where all would be, one stays. "
        "Expected accuracy, worked out from all subsets."
    )
    return Block(
        "Per-modality drop",
        text + _grey(found),
        (_table("Each modality missing with this chance", found.drops, best),),
        tuple(plots),
    )


def _limits(curves: Iterable[Curve]) -> tuple[float, float]:
    """Of what a block's panels show, bands included, so that they can be compared by eye."""
    values = [value for curve in curves for value in curve.values()]
    return min(v.mean - (v.std or 0.0) for v in values), max(v.mean + (v.std or 0.0) for v in values)


def _table(title: str, by_method: Mapping[str, Curve], best: Mapping[str, float] | None) -> Table:
    steps = list(next(iter(by_method.values())))
    rows = []
    if best is not None:
        rows.append(Row("best possible (Bayes)", tuple(plain(best[step]) for step in steps), Kind.POSSIBLE))
    rows += [Row(label, tuple(figure(curve[step]) for step in steps)) for label, curve in by_method.items()]
    columns = ("method", *(f"{step} %" for step in steps))
    return Table(title, columns, marked(rows, dict.fromkeys(range(len(steps)), max)))
