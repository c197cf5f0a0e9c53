"""The entry point of the command line. Commands import torch, ray and pandas inside their functions only."""

import os
import sys
from typing import Annotated

import typer

from mmcache.cli.commands import check, demo, evaluate, export, extract, fuse, listing, predict, report, store, sweep
from mmcache.common.interrupts import interrupted_code, terminate_as_interrupt
from mmcache.store.ground.errors import MmcacheError

app = typer.Typer(
    name="mmcache",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Cache the tokens of frozen encoders once, then train fusion models that survive missing sensors.",
    epilog="Start with: mmcache demo. Exit codes: 0 good, 2 usage or configuration, 3 too many failures, "
    "130 or 143 interrupted, 1 other.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        import importlib.metadata

        typer.echo(f"mmcache {importlib.metadata.version('mmcache')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version, and stop.")
    ] = False,
) -> None:
    """Options before the name of a command."""


# The commands, in the order of the work.
app.command("demo", rich_help_panel="Start here", epilog=demo.EXAMPLE)(demo.demo)
app.command("extract", rich_help_panel="Stage one: encoders to cache", epilog=extract.EXAMPLE)(extract.extract)
app.command("check", rich_help_panel="Stage one: encoders to cache", epilog=check.EXAMPLE)(check.check)
app.command("fuse", rich_help_panel="Stage two: cache to models", epilog=fuse.EXAMPLE)(fuse.fuse)
app.command("sweep", rich_help_panel="Stage two: cache to models", epilog=sweep.EXAMPLE)(sweep.sweep)
app.command("evaluate", rich_help_panel="Stage two: cache to models", epilog=evaluate.EXAMPLE)(evaluate.evaluate)
app.command("report", rich_help_panel="Stage two: cache to models", epilog=report.EXAMPLE)(report.report)
app.command("predict", rich_help_panel="From models to use", epilog=predict.EXAMPLE)(predict.predict)
app.command("export", rich_help_panel="From models to use", epilog=export.EXAMPLE)(export.export)
app.add_typer(store.app, name="store", rich_help_panel="The cache")
app.command("list", rich_help_panel="The cache", epilog=listing.EXAMPLE)(listing.list_names)


_LONGEST = 500  # characters shown of an unexpected error
_TYPER_INTERRUPTED = 130  # the exit code of Typer for KeyboardInterrupt
_GOES_ON = "Finished work is kept; the same command continues from there."


def main() -> None:
    """Run the command line; errors that a user can cause end in a message and an exit code, not a traceback."""
    try:
        with terminate_as_interrupt():
            app()
    except MmcacheError as error:
        _fail(str(error), error.exit_code)
    except SystemExit as end:
        if end.code == _TYPER_INTERRUPTED:
            _fail(f"stopped. {_GOES_ON}", interrupted_code())
        raise
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the program that reads our output has ended
        sys.exit(1)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        _fail(f"{error.strerror or error}{where}. {_GOES_ON}", 1)
    except Exception as error:
        if os.environ.get("MMCACHE_DEBUG"):
            raise
        from mmcache.common.plugin_faults import fault_in

        if fault := fault_in(error):
            _fail(f"{fault}. MMCACHE_DEBUG=1 shows the whole traceback.", fault.exit_code)
        said = " ".join(str(error).split())[:_LONGEST]
        _fail(f"unexpected {type(error).__name__}: {said}. A bug: MMCACHE_DEBUG=1 shows where.", 1)


def _fail(message: str, code: int) -> None:
    from mmcache.cli.display.console import say_error

    say_error(message)
    sys.exit(code)
