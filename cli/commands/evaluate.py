"""mmcache evaluate: the results of runs, under every protocol."""

from pathlib import Path
from typing import Annotated, Any

import typer

EXAMPLE = "Example: mmcache evaluate runs/epic/karmma-1a2b3c4d --json"


def evaluate(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, as `mmcache fuse` makes them; several are compared.")],
    split: Annotated[str | None, typer.Option(help="Another split than the run's own.", rich_help_panel="Data")] = None,
    store: Annotated[str | None, typer.Option(help="Another store than the run's own.", rich_help_panel="Data")] = None,
    protocol: Annotated[str | None, typer.Option(help="Another published division of the segments.", rich_help_panel="Data")] = None,
    prune: Annotated[bool, typer.Option("--prune", help="Without segments whose noun never occurs in train.", rich_help_panel="Data")] = False,
    cost: Annotated[bool, typer.Option("--cost", help="FLOPs, memory and latency, measured where the run has none.", rich_help_panel="More protocols")] = False,
    few_shot: Annotated[bool, typer.Option("--few-shot", help="5-way 5-shot episodes over classes new to the run.", rich_help_panel="More protocols")] = False,
    noise: Annotated[bool, typer.Option("--noise", help="Noise on the tokens, in three kinds and eleven levels.", rich_help_panel="More protocols")] = False,
    windows: Annotated[int | None, typer.Option(help="Sensors that fail for some of so many windows of a segment.", rich_help_panel="More protocols")] = None,
    rates: Annotated[str, typer.Option(help="Segments that missing rates are shares of: complete ones, or natural: all, those incomplete by nature counted in.", rich_help_panel="More protocols")] = "complete",
    test_time: Annotated[str | None, typer.Option(help="Adapt while testing, a stream for each missing rate: midl, tent, shot or eta.", rich_help_panel="More protocols")] = None,
    set_option: Annotated[list[str] | None, typer.Option("--set", help="An option of --test-time as NAME=VALUE, such as adapt_lr=1e-3, repeatable.", rich_help_panel="More protocols")] = None,
    late_fusion: Annotated[Path | None, typer.Option(help="The run that effective robustness is measured against.", rich_help_panel="More protocols")] = None,
    submission: Annotated[Path | None, typer.Option(help="Write a challenge's zip for --split (default: test), and stop.", rich_help_panel="Run")] = None,
    plugin: Annotated[list[str] | None, typer.Option(help="FILE.py:NAME of a strategy or fusion that the runs use, repeatable.", rich_help_panel="Run")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Run the model again, even where its answers are kept.", rich_help_panel="Run")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.", rich_help_panel="Run")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.", rich_help_panel="Run")] = False,
) -> None:  # fmt: skip
    """Show what a run's accuracy is for every modality subset, missing rate and drop rate; compare several.

    Runs that differ in their seed alone count as one method, with mean and standard deviation.
    """
    from mmcache.cli.arguments import pairs, yaml_value
    from mmcache.fuse.evaluation.evaluate import RATES_OF
    from mmcache.fuse.evaluation.measured import Wanted
    from mmcache.fuse.options.components import name_plugins
    from mmcache.fuse.training.device import usable_device
    from mmcache.store.ground.errors import ConfigError, Problems

    device = usable_device(device)
    name_plugins(plugin or ())
    options = {name: yaml_value("--set", name, text) for name, text in pairs("--set", set_option).items()}
    if options and test_time is None:
        raise ConfigError("--set is for the options of --test-time: name a step")
    if submission is not None:
        if len(runs) > 1:
            raise ConfigError(f"--submission takes one run; got {len(runs)}")
        _submit(runs[0], submission, split, store, device, as_json)
        return
    problems = Problems()
    problems.check_name("--rates", rates, RATES_OF)
    problems.raise_if_any()
    noise = noise or late_fusion is not None
    wanted = Wanted(
        cost=cost, few_shot=few_shot, noise=noise, windows=windows, test_time=test_time, step_options=options
    )
    results = [_result(run, split, store, device, fresh, protocol, prune, rates, wanted) for run in runs]
    reference = None
    if late_fusion is not None:
        reference = _result(late_fusion, split, store, device, fresh, protocol, prune, rates, wanted)
    _print(runs, results, reference, as_json)


def _print(runs: list[Path], results: list[dict[str, Any]], reference: dict[str, Any] | None, as_json: bool) -> None:
    """One run, or several compared.

    Args:
        reference: results of the run that effective robustness is measured against.
    """
    from mmcache.cli.display.console import print_json
    from mmcache.cli.display.evaluation_tables import show_comparison, show_result, show_robustness
    from mmcache.fuse.evaluation.comparison import compare, robustness

    together: dict[str, Any] = compare(runs, results) if len(runs) > 1 else {}
    if "noise" in results[0]:
        together["robustness"] = robustness(results, reference)
    if as_json:
        print_json({"runs": results, **together} if len(runs) > 1 else {**results[0], **together})
    elif len(runs) > 1:
        show_comparison(results, together)
    else:
        show_result(results[0])
        show_robustness(together)


def _result(
    run: Path,
    split: str | None,
    store: str | None,
    device: str,
    fresh: bool,
    protocol: str | None,
    prune: bool,
    rates: str,
    wanted: Any,
) -> dict[str, Any]:
    from mmcache.fuse.evaluation.evaluate import evaluate as evaluate_run
    from mmcache.fuse.evaluation.measured import measure

    result = evaluate_run(
        run, split=split, store=store, device=device, fresh=fresh, protocol=protocol, prune=prune, rates=rates
    )
    return {**result, **measure(run, result, wanted, store=store, device=device, protocol=protocol)}


def _submit(run: Path, path: Path, split: str | None, store: str | None, device: str, as_json: bool) -> None:
    from mmcache.cli.display.console import out, print_json, warn
    from mmcache.fuse.deploy.submission import write_submission

    written = write_submission(run, path, split or "test", store, device)
    if as_json:
        print_json(vars(written))
    else:
        out.print(f"{written.n} segments for the challenge {written.challenge} -> {written.path}")
    if written.blind:
        more = f" and {len(written.blind) - 1} more" if len(written.blind) > 1 else ""
        warn(f"{written.blind[0]}{more} have no cached tokens: every class of theirs has the score 0")
