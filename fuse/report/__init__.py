"""Reports: runs side by side as Markdown, CSV, LaTeX and one HTML page.

found (which runs there are) -> methods (which are seeds of one) -> figures (their numbers) -> contents (tables and
plots, in order) -> markdown, records, latex, page (the formats) -> writing (files). `possible` is what could have been
reached, `published` what papers print.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from mmcache.fuse.report.blocks import Report
from mmcache.fuse.report.contents import contents
from mmcache.fuse.report.formats.writing import FORMATS, render, write
from mmcache.fuse.report.read.found import find_runs
from mmcache.fuse.report.read.methods import sections_of

__all__ = ["FORMATS", "Report", "make_report", "render", "write"]


def make_report(
    runs: Sequence[Path],
    title: str = "Missing modalities",
    tasks: Sequence[str] | None = None,
    *,
    teachers: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """A report on run folders, or on all runs below the folders given.

    Args:
        tasks: only these; None = all.
        teachers: also runs that others were built on.

    Raises:
        ConfigError: a folder does not exist, there is no finished run, or no run has such a task.
    """
    found, left_out = find_runs(runs, teachers=teachers, progress=progress)
    sections, repeated = sections_of(found)
    return contents(title, sections, [*left_out, *repeated], tasks)
