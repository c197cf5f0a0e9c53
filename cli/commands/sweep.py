"""mmcache sweep: many strategies, seeds and options in one command."""

import contextlib
import inspect
import os
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmcache.cli.commands.fuse import fuse

if TYPE_CHECKING:
    from mmcache.fuse.sweep.board import Board
    from mmcache.fuse.sweep.spec import SweepSpec
    from mmcache.fuse.sweep.sweep import Sweep

EXAMPLE = "Example: mmcache sweep --strategies dropout,karmma --seeds 0,1,2 --axis drop=0.3,0.5 --epochs 30"
# Flags of `mmcache fuse` that a sweep has in another form.
_OTHERWISE = ("strategy", "recipe", "store", "out", "seed", "config", "resume", "dry_run", "as_json")


def sweep(
    file: Annotated[Path | None, typer.Argument(help="Sweep file (YAML); see examples/sweeps/.")] = None,
    strategies: Annotated[str | None, typer.Option(help="Names with commas; see `mmcache list strategies`.", rich_help_panel="What")] = None,
    seeds: Annotated[str | None, typer.Option(help="Numbers with commas. Default: 0.", rich_help_panel="What")] = None,
    stores: Annotated[str | None, typer.Option("--store", "--stores", help="Stores with commas. Default: the newest under cache/.", rich_help_panel="What")] = None,
    axis: Annotated[list[str] | None, typer.Option(help="OPTION=VALUE,VALUE,...: try each, repeatable.", rich_help_panel="What")] = None,
    recipe: Annotated[str | None, typer.Option(help="matched: one network, regularisers, optimiser and masks for all strategies, so that they differ in their ideas alone; published: each as its paper has it. Default: matched.", rich_help_panel="What")] = None,
    with_controls: Annotated[bool, typer.Option("--with-controls", help="Also train the control of every strategy, all else equal.", rich_help_panel="What")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder of the sweep; its runs are in runs/ there. Default: runs/FILE-ID.", rich_help_panel="What")] = None,
    address: Annotated[str | None, typer.Option(help="Ray cluster: auto, or HOST:PORT of its head. Default: this machine alone.", rich_help_panel="Where")] = None,
    cpus: Annotated[float | None, typer.Option(help="Of a trial, and its threads. Default: 1.", rich_help_panel="Where")] = None,
    gpus: Annotated[float | None, typer.Option(help="Of a trial, or a share of one, as 0.25. Default: 1 where there are any.", rich_help_panel="Where")] = None,
    concurrent: Annotated[int | None, typer.Option(help="Trials at once. Default: as many as there is room for.", rich_help_panel="Where")] = None,
    pack: Annotated[str, typer.Option(help="Trials trained together in one process: auto, off, or at most so many.", rich_help_panel="Where")] = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on in --out, with what was begun there or with another sweep.", rich_help_panel="Run")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the trials, and stop.", rich_help_panel="Run")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print trials, states and results as JSON.", rich_help_panel="Run")] = False,
    **fuse_flags: Any,
) -> None:  # fmt: skip
    """Train many variants: every strategy, on every store, with every combination of options, for every seed.

    Teachers are trained first, once for all. Stopped or killed at any moment, the same command goes on; what is finished
    is never trained again. Every trial is an ordinary run folder, for `mmcache evaluate` and `mmcache report`. A trial
    that fails is named with its reason, and the exit code is then 3. Flags of `mmcache fuse` hold for all trials.
    """
    from mmcache.cli.display.console import print_json, say, warn
    from mmcache.store.ground.errors import ConfigError

    resources = {"cpus": cpus, "gpus": gpus, "concurrent": concurrent}
    given = _given(strategies, seeds, stores, axis, recipe, with_controls, resources)
    spec = _spec(file, given, _flags(fuse_flags), out if resume else None)
    if pack not in ("auto", "off") and not (pack.isdigit() and int(pack) > 0):
        raise ConfigError(f"--pack {pack}: expected auto, off, or a number from 1 up")

    from mmcache.cli.display.sweep_view import SweepView
    from mmcache.fuse.sweep.results import as_json as outcome
    from mmcache.fuse.sweep.sweep import plan_sweep, run_sweep

    began = time.monotonic()
    planned = plan_sweep(spec, out, file.stem if file is not None else "sweep")
    folder = planned.out.relative_to(Path.cwd()) if planned.out.is_relative_to(Path.cwd()) else planned.out
    for note in planned.planner.notes:
        warn(note)
    if dry_run:
        _show_plan(planned, as_json)
        return
    board = planned.board(lambda standing: None)
    say(f"{_counted(planned)}, {spec.recipe} recipe -> {folder}")
    # Ray prints what it has to say of dying nodes; standard output is for results.
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), SweepView(board.standings) as view:
        most = int(pack) if pack.isdigit() else pack
        board = run_sweep(planned, view.changed, address=address, resume=resume, pack=most)
    for note in board.notes:
        warn(note)
    if as_json:
        print_json(outcome(board, spec.recipe, folder, time.monotonic() - began))
    else:
        _show(board, folder, time.monotonic() - began)
    _complain(board)


def _as_flags_of_fuse_too(command: Any) -> None:
    """Give the command the flags of `mmcache fuse`, which are written down there."""
    more = [p for name, p in inspect.signature(fuse).parameters.items() if name not in _OTHERWISE]
    signature = inspect.signature(command)
    own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    command.__signature__ = signature.replace(parameters=[*own, *more])
    command.__annotations__ = {p.name: p.annotation for p in [*own, *more]}


_as_flags_of_fuse_too(sweep)


def _flags(values: dict[str, Any]) -> dict[str, Any]:
    """The options that flags of `mmcache fuse` set."""
    from mmcache.cli.arguments import comma_list, pairs, yaml_value

    out = {name: yaml_value("--set", name, text) for name, text in pairs("--set", values.pop("set_option")).items()}
    missing = pairs("--train-missing", values.pop("train_missing"))
    named = {
        **values,
        "train_missing": {name: yaml_value("--train-missing", name, text) for name, text in missing.items()} or None,
        "modalities": comma_list(values["modalities"]),
    }
    return {**out, **{name: value for name, value in named.items() if value is not None}}


def _given(
    strategies: str | None,
    seeds: str | None,
    stores: str | None,
    axis: list[str] | None,
    recipe: str | None,
    with_controls: bool,
    resources: dict[str, Any],
) -> dict[str, Any]:
    """What the command line says of the sweep itself, in the form of a sweep file."""
    from mmcache.cli.arguments import comma_list, pairs, yaml_value

    axes = {
        name: [yaml_value("--axis", name, part) for part in comma_list(text) or []]
        for name, text in pairs("--axis", axis).items()
    }
    lists = {"strategies": strategies, "seeds": seeds, "stores": stores}
    out: dict[str, Any] = {name: comma_list(text) for name, text in lists.items() if text is not None}
    if axes:
        out["axes"] = axes
    if recipe is not None:
        out["recipe"] = recipe
    if with_controls:
        out["with_controls"] = True
    room = {name: value for name, value in resources.items() if value is not None}
    return {**out, "resources": room} if room else out


def _spec(file: Path | None, given: dict[str, Any], flags: dict[str, Any], begun: Path | None) -> "SweepSpec":
    """The sweep that file and flags tell of, flags winning; with neither, the one that was begun in a folder."""
    from mmcache.fuse.sweep.spec import make_spec, read_spec, saved_spec
    from mmcache.store.ground.errors import ConfigError

    if file is None and "strategies" not in given:
        if begun is None:
            raise ConfigError("give a sweep file, or --strategies; `mmcache sweep --help` has an example of each")
        if {*given} - {"resources"} or flags:
            raise ConfigError("--resume without a file or --strategies takes the sweep as it was begun: no other flags")
        saved = saved_spec(begun).plain()
        return make_spec({**saved, "resources": {**saved["resources"], **given.get("resources", {})}}, str(begun))
    content = read_spec(file) if file is not None else {}
    merged = {**content, **given}
    for name in ("axes", "resources"):
        if isinstance(content.get(name), dict) and name in given:
            merged[name] = {**content[name], **given[name]}
    return make_spec({**merged, "flags": flags}, str(file) if file is not None else "flags")


def _counted(planned: "Sweep") -> str:
    trials = planned.planner.trials.values()
    first = sum(trial.role != "trial" for trial in trials)
    said = f"{len(trials) - first} trials" + (f", and {first} runs that they build on" if first else "")
    search = planned.spec.search
    if search is None:
        return said
    count = search.num_samples * len(planned.spec.strategies) * len(planned.planner.stores) * len(planned.spec.seeds)
    return f"a search of {count} trials"


def _show_plan(planned: "Sweep", as_json: bool) -> None:
    from mmcache.cli.display.console import out, print_json, table

    board = planned.board(lambda standing: None)
    standings = list(board.standings.values())
    if as_json:
        rows = [
            {"label": s.trial.label, "role": s.trial.role, "state": s.state, "run": s.trial.folder} for s in standings
        ]
        print_json({"out": planned.out, "recipe": planned.spec.recipe, "trials": rows})
        return
    out.print(f"{_counted(planned)}, {planned.spec.recipe} recipe -> {planned.out}")
    shown = [[s.trial.label, s.trial.role, s.state, str(s.epochs)] for s in standings]
    out.print(table("", ["trial", "role", "state", "epochs"], shown, text_columns=3))


def _show(board: "Board", folder: Path, seconds: float) -> None:
    """A table a store: methods, and the mean over seeds of every subset's accuracy."""
    from mmcache.cli.display.console import duration, out, table
    from mmcache.fuse.sweep.results import main_task, method_rows, result_of

    rows = method_rows(board)
    for store in dict.fromkeys(row.store for row in rows):
        of_store = [row for row in rows if row.store == store]
        one = next(
            s.trial for s in board.standings.values() if s.trial.options.store == store and s.state == "finished"
        )
        result = result_of(one.folder)
        data = [standing.trial.options.data for standing in board.standings.values()]
        folds = [each.group for each in data if each.store == store and each.fold is not None]
        names = sorted(of_store[0].subsets, key=lambda name: (-len(name.split("+")), name))
        columns = [
            "method",
            *(name.replace("+", "\n+") for name in names),
            "all\nsubsets",
            "runs" if folds else "seeds",
        ]
        cells = []
        for row in of_store:
            average = row.summary.get("avg_acc")
            figures = [f"{row.subsets[name]:.1f}" if name in row.subsets else "-" for name in names]
            cells.append([row.method, *figures, "-" if average is None else f"{average:.1f}", str(row.seeds)])
        tested = f"folds by {folds[0]}" if folds else f"{result['n']} segments with every sensor"
        out.print(
            f"Top-1 accuracy (%) of {main_task(result)} on '{result['split']}' of {store.name}, "
            f"{tested}, {one.options.recipe} recipe, means over {'folds and ' if folds else ''}seeds:",
        )
        out.print(table("", columns, cells, gap=1))
    out.print(f"{duration(seconds)}. Runs: {folder}/runs   More: mmcache report {shlex.quote(str(folder))}")


def _complain(board: "Board") -> None:
    """Raise TooManyFailures where a trial failed, with the reasons."""
    from mmcache.store.ground.errors import TooManyFailures

    failed = [standing for standing in board.standings.values() if standing.state == "failed"]
    if failed:
        reasons = "\n".join(f"  {standing.trial.label}: {standing.reason}" for standing in failed)
        raise TooManyFailures(
            f"{len(failed)} of {len(board.standings)} trials failed; the others are done. The same command tries these "
            f"again:\n{reasons}"
        )
