"""mmcache fuse: train one strategy on a store."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from mmcache.fuse.training.plan import PlannedRun
    from mmcache.fuse.training.train import TrainedRun

EXAMPLE = "Example: mmcache fuse --strategy karmma --store cache/epic.zarr --epochs 50 --set alpha=0.5"


def fuse(
    strategy: Annotated[str, typer.Option(help="How missing modalities are handled; see `mmcache list strategies`, or FILE.py:NAME of your own.", rich_help_panel="What")],
    store: Annotated[Path | None, typer.Option(help="Store to train on. Default: the newest under cache/.", rich_help_panel="What")] = None,
    modalities: Annotated[str | None, typer.Option(help="E.g. rgb,audio or rgb=swin3d_t,audio. Default: all.", rich_help_panel="What")] = None,
    recipe: Annotated[str, typer.Option(help="published: the strategy as its paper has it; matched: network, regularisers, optimiser and masks that all strategies share.", rich_help_panel="What")] = "published",
    out: Annotated[Path | None, typer.Option(help="Run folder. Default: runs/STORE/STRATEGY-ID.", rich_help_panel="What")] = None,
    protocol: Annotated[str | None, typer.Option(help="Another published division of the segments, e.g. xview. Default: the store's own.", rich_help_panel="What")] = None,
    group: Annotated[str | None, typer.Option(help="Column of the segments, e.g. person: its values stay together in the part of train that is held out. Default: video.", rich_help_panel="What")] = None,
    fold: Annotated[str | None, typer.Option(help="Leave one group out: test on this value of --group, train on all others.", rich_help_panel="What")] = None,
    teacher: Annotated[Path | None, typer.Option(help="A run to learn from. Default: trained first, if the strategy has one.", rich_help_panel="What")] = None,
    k: Annotated[int | None, typer.Option(help="k-Average: at most K tokens a modality. Default: 300.", rich_help_panel="Network")] = None,
    fusion: Annotated[str | None, typer.Option(help="See `mmcache list fusions`, or FILE.py:NAME of your own.", rich_help_panel="Network")] = None,
    handler: Annotated[str | None, typer.Option(help="What stands in for the tokens of a missing modality; see `mmcache list handlers`.", rich_help_panel="Network")] = None,
    width: Annotated[int | None, typer.Option(help="Fusion width d.", rich_help_panel="Network")] = None,
    depth: Annotated[int | None, typer.Option(help="Blocks.", rich_help_panel="Network")] = None,
    heads: Annotated[int | None, typer.Option(help="Attention heads.", rich_help_panel="Network")] = None,
    drop: Annotated[float | None, typer.Option(help="Chance that a modality is dropped in training.", rich_help_panel="Training")] = None,
    target: Annotated[str | None, typer.Option(help="The one modality that may be missing in training. Default: any.", rich_help_panel="Training")] = None,
    train_missing: Annotated[list[str] | None, typer.Option(help="MODALITY=SHARE, repeatable: training segments made to lack it for good.", rich_help_panel="Training")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training split.", rich_help_panel="Training")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Segments a step.", rich_help_panel="Training")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate.", rich_help_panel="Training")] = None,
    validation: Annotated[float | None, typer.Option(help="Share of train that picks the epoch; 0 keeps the last one. Default: the validation split picks, else 0.1.", rich_help_panel="Training")] = None,
    pick_by: Annotated[str | None, typer.Option(help="Accuracy that picks the epoch: mean over modality subsets, or full. Default: mean.", rich_help_panel="Training")] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, order, masks and dropout.", rich_help_panel="Training")] = None,
    eval_split: Annotated[str | None, typer.Option(help="Split to report on. Default: the data set's own.", rich_help_panel="Run")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:1. Default: auto.", rich_help_panel="Run")] = None,
    precision: Annotated[str | None, typer.Option(help="Of matrix products in training: auto, bf16, fp32. Default: auto, bf16 on GPUs.", rich_help_panel="Run")] = None,
    resident: Annotated[str | None, typer.Option(help="Where tokens lie: auto, gpu, ram, disk. Default: auto.", rich_help_panel="Run")] = None,
    set_option: Annotated[list[str] | None, typer.Option("--set", help="Any other option as NAME=VALUE, repeatable; --dry-run shows all, `mmcache list options STRATEGY` explains them.", rich_help_panel="Run")] = None,
    config: Annotated[Path | None, typer.Option(help="Settings file; its section 'fuse' is read.", rich_help_panel="Run")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Insist that a run is there to go on with. A stopped one goes on in any case.", rich_help_panel="Run")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the resolved options, and stop.", rich_help_panel="Run")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON, as `mmcache evaluate --json`.", rich_help_panel="Run")] = False,
) -> None:  # fmt: skip
    """Train a fusion model on cached tokens and show what each missing sensor costs.

    The same command on the same store finds its run finished; an interrupted one continues after its last epoch.
    """
    from mmcache.cli.arguments import comma_list, pairs, settings_layer, yaml_value
    from mmcache.store.ground.errors import ConfigError
    from mmcache.store.ground.text import excerpt

    flags = {name: yaml_value("--set", name, value) for name, value in pairs("--set", set_option).items()}
    if "strategy" in flags:
        raise ConfigError(f"--set strategy={excerpt(flags['strategy'])[:40]}: --strategy names it; leave this out")
    named = {
        "store": store, "modalities": comma_list(modalities), "out": out, "teacher": teacher, "k": k, "fusion": fusion,
        "handler": handler, "width": width, "depth": depth, "heads": heads, "drop": drop, "target": target, "epochs": epochs,
        "batch_size": batch_size, "lr": lr, "seed": seed, "eval_split": eval_split, "device": device, "resident": resident,
        "protocol": protocol, "group": group, "fold": fold, "validation": validation, "pick_by": pick_by,
        "precision": precision,
        "train_missing": {m: yaml_value("--train-missing", m, text) for m, text in pairs("--train-missing", train_missing).items()} or None,
    }  # fmt: skip
    flags |= {name: value for name, value in named.items() if value is not None}
    layers = {**settings_layer("fuse", config), "flags": flags}
    run_fuse_command(strategy, layers, recipe, dry_run=dry_run, as_json=as_json, resume=resume)


def run_fuse_command(
    strategy: str,
    layers: dict[str, dict[str, Any]],
    recipe: str = "published",
    *,
    dry_run: bool = False,
    as_json: bool = False,
    show: bool = True,
    resume: bool = False,
) -> "TrainedRun | None":
    """The whole command, for the command line and for the demo."""
    from mmcache.cli.display.console import print_json, warn
    from mmcache.fuse.training.plan import plan_run
    from mmcache.fuse.training.stores import Stores
    from mmcache.fuse.training.train import train_layers

    if dry_run:
        planned = plan_run(strategy, layers, recipe, Stores())
        for note in planned.notes:
            warn(note)
        _show_options(planned)
        return None
    progress = _Progress()
    try:
        trained = train_layers(strategy, layers, progress, recipe, resume=resume)
    finally:
        progress.stop()
    if as_json:
        print_json(trained.result)
    elif show:
        _show(strategy, trained)
    return trained


class _Progress:
    """A heading a stage, and one bar under it."""

    def __init__(self) -> None:
        from mmcache.cli.display.console import Bars

        self._bars = Bars()

    def stage(self, title: str, details: list[str]) -> None:
        from mmcache.cli.display.console import err, say

        self.stop()
        err.print(title, style="bold")
        for line in details:
            say(f"  {line}")

    def advance(self, done: int, total: int, unit: str, note: str = "") -> None:
        self._bars.update("  ", done, total, unit, note)

    def stop(self) -> None:
        self._bars.stop()


def _show_options(planned: "PlannedRun") -> None:
    import yaml

    from mmcache.cli.display.console import out

    for run in planned.all():
        if run is not planned:
            out.print(f"# first: {run.role} {run.options.name}, {run.folder}")
    out.print(yaml.safe_dump(planned.options.nested(), sort_keys=False))


def _show(strategy: str, trained: "TrainedRun") -> None:
    from mmcache.cli.display.console import accuracies, out

    if trained.was_finished:
        out.print(f"Finished earlier: {trained.path}")
    titles = [f"{strategy} teacher", *(f"teacher {i}" for i in range(2, len(trained.teachers) + 1))]
    result = trained.result
    # A teacher of one sensor may be scored on another split: its figures do not belong beside these.
    runs = {
        title: teacher.result
        for title, teacher in zip(titles, trained.teachers, strict=False)
        if teacher.result["split"] == result["split"]
    }
    told = f"{result['n']} segments with every sensor ({result['recipe']} recipe)"
    out.print(f"Top-1 accuracy on '{result['split']}', {told}:")
    out.print(accuracies({**runs, strategy: result}))
    out.print(f"Run: {trained.path}   Again, as JSON: mmcache evaluate {shlex.quote(str(trained.path))} --json")
