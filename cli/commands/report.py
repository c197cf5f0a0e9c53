"""mmcache report: runs side by side, as tables, plots and a page."""

from pathlib import Path
from typing import Annotated

import typer

EXAMPLE = "Example: mmcache report runs/epic --out report"


def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or folders above them.")],
    formats: Annotated[list[str] | None, typer.Option("--format", help="md, csv, latex, html; repeatable, or a list with commas. Default: md, and with --out all.", rich_help_panel="Output")] = None,
    out: Annotated[Path | None, typer.Option(help="Write report.md, .csv, .tex, .html and plots (SVG, PNG) into this folder.", rich_help_panel="Output")] = None,
    title: Annotated[str, typer.Option(help="Title of the report.", rich_help_panel="Output")] = "Missing modalities",
    plugin: Annotated[list[str] | None, typer.Option(help="FILE.py:NAME of a strategy or fusion that the run uses, repeatable.", rich_help_panel="Content")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print every number, and what was left out, as JSON.", rich_help_panel="Output")] = False,
    task: Annotated[str | None, typer.Option(help="Only these tasks, e.g. action. Default: all, action first.", rich_help_panel="Content")] = None,
    teachers: Annotated[bool, typer.Option("--teachers", help="Also the runs that others were built on.", rich_help_panel="Content")] = False,
) -> None:  # fmt: skip
    """Set runs side by side: every modality subset, missing rates, costs, ranks, and published figures.

    Runs that differ in their seed alone are one method, with mean and standard deviation. Runs on other data get a
    section of their own; what cannot be used is named with its reason.
    """
    from mmcache.cli.arguments import comma_list
    from mmcache.cli.display.console import Bars, print_json, say, warn
    from mmcache.cli.display.console import out as console
    from mmcache.fuse.options.components import name_plugins
    from mmcache.fuse.report import FORMATS, make_report, render, write
    from mmcache.fuse.report.formats.records import records
    from mmcache.fuse.report.formats.writing import check_formats
    from mmcache.store.ground.errors import ConfigError

    name_plugins(plugin or ())
    given = [name for text in formats or [] for name in comma_list(text) or []]
    check_formats(given)
    wanted = list(dict.fromkeys(given)) or (["md"] if out is None else list(FORMATS))
    if out is None and len(wanted) > 1:
        raise ConfigError(f"{' and '.join(wanted)} cannot both go to standard output; give --out FOLDER")
    if out is not None and out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out} is a file; name a folder")
    with Bars() as bars:
        made = make_report(
            runs,
            title,
            comma_list(task),
            teachers=teachers,
            progress=lambda done, total: bars.update("reading", done, total, "runs"),
        )
        files = []
        if out is not None:
            files = write(made, out, wanted, lambda done, total: bars.update("drawing", done, total, "plots"))
    if made.left_out:
        warn(f"{len(made.left_out)} of the folders are in no table:")
        for left in made.left_out:
            say(f"  {left.path}: {left.kind} ({left.reason})")
    if as_json:
        left_out = [{"run": str(left.path), "kind": left.kind, "reason": left.reason} for left in made.left_out]
        print_json({"records": records(made), "left_out": left_out, "files": [str(file) for file in files]})
    elif out is None:
        print(render(made, wanted[0]), end="")  # noqa: T201
    else:
        reports = ", ".join(str(out / FORMATS[name]) for name in wanted)
        plots = sum(file.suffix == ".svg" for file in files)
        console.print(f"{reports}" + (f", and {plots} plots in {out / 'plots'}" if plots else ""))
