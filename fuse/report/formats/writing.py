"""A report in the formats there are, as text and as files."""

from collections.abc import Callable, Sequence
from pathlib import Path

from mmcache.fuse.report.blocks import Report
from mmcache.fuse.report.formats.latex import to_latex
from mmcache.fuse.report.formats.markdown import to_markdown
from mmcache.fuse.report.formats.page import to_html
from mmcache.fuse.report.formats.records import to_csv
from mmcache.fuse.runs.drawing import to_png, to_svg
from mmcache.store.files.atomic import atomic_write
from mmcache.store.ground.errors import Problems
from mmcache.store.ground.lock import writer_lock

FORMATS = {"md": "report.md", "csv": "report.csv", "latex": "report.tex", "html": "report.html"}
PLOTS = "plots"


def check_formats(names: Sequence[str]) -> None:
    """Raise ConfigError naming every format that there is not."""
    problems = Problems()
    for name in names:
        problems.check_name("format", name, FORMATS)
    problems.raise_if_any()


def render(report: Report, name: str) -> str:
    """The report in one format, as text."""
    if name == "html":
        return to_html(report, lambda plot: to_svg(plot.draw()))
    return {"md": to_markdown, "csv": to_csv, "latex": to_latex}[name](report)


def write(
    report: Report,
    folder: Path,
    formats: Sequence[str] = tuple(FORMATS),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Path]:
    """Write the report into a folder, its plots as SVG and PNG beside it unless CSV is all that is wanted.

    Files of an earlier report are replaced, each whole.

    Raises:
        InUseError: another process is writing a report there.
    """
    with writer_lock(folder, what="the report"):
        return _write(report, folder, formats, progress)


def _write(report: Report, folder: Path, formats: Sequence[str], progress: Callable[[int, int], None]) -> list[Path]:
    drawn: dict[str, str] = {}
    files: list[Path] = []

    def put(path: Path, data: bytes) -> None:
        atomic_write(path, data)
        files.append(path)

    if set(formats) != {"csv"}:
        plots = [plot for part in report.parts for t in part.tasks for block in t.blocks for plot in block.plots]
        for done, plot in enumerate(plots):
            progress(done, len(plots))
            figure = plot.draw()
            drawn[plot.name] = to_svg(figure)
            put(folder / PLOTS / f"{plot.name}.svg", drawn[plot.name].encode())
            put(folder / PLOTS / f"{plot.name}.png", to_png(figure))
        progress(len(plots), len(plots))
    for name in formats:
        if name == "html":
            text = to_html(report, lambda plot: drawn[plot.name])
        elif name == "md":
            text = to_markdown(report, lambda plot: f"{PLOTS}/{plot.name}.svg")
        else:
            text = render(report, name)
        put(folder / FORMATS[name], text.encode())
    return files
