"""mmcache evaluate: the results of a run, under every protocol."""

from pathlib import Path
from typing import Annotated

import typer

EXAMPLE = "Example: mmcache evaluate runs/epic/karmma-1a2b3c4d --json"


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder, as `mmcache fuse` makes them.")],
    split: Annotated[str | None, typer.Option(help="Another split than the run's own.")] = None,
    store: Annotated[Path | None, typer.Option(help="Another store than the run's own.")] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Run the model again, even where its answers are kept.")
    ] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:1.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Show a run's accuracy for every modality subset, missing rate and drop rate."""
    from mmcache.cli.console import accuracies, out, print_json, table
    from mmcache.fuse.evaluation import evaluate as evaluate_run

    result = evaluate_run(run, split=split, store=store, device=device, fresh=fresh)
    if as_json:
        print_json(result)
        return
    out.print(
        f"{run}: top-1 accuracy on '{result['split']}', {result['n']} segments with every sensor",
        markup=False,
    )
    out.print(accuracies({run.name: result}))
    rates = [
        [modality, task, *(f"{value:.1f}" for value in curve.values())]
        for modality, tasks in result["rates"].items()
        for task, curve in tasks.items()
    ]
    if rates:
        steps = [f"{rate} %" for rate in next(iter(next(iter(result["rates"].values())).values()))]
        out.print(table("One sensor missing in so many of the segments", ["missing", "task", *steps], rates, 2))
    drops = [[task, *(f"{value:.1f}" for value in curve.values())] for task, curve in result["drop"].items()]
    steps = [f"{drop} %" for drop in next(iter(result["drop"].values()))]
    out.print(table("Each sensor missing with this chance", ["task", *steps], drops))
    rows = [
        [task, *("-" if v is None else f"{v:.1f}" for v in values.values())]
        for task, values in result["summary"].items()
    ]
    columns = ["task", "mean accuracy", "mean relative drop", "mean difference to full"]
    out.print(table("Over all subsets", columns, rows))
