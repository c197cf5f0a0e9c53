"""mmcache demo: generate a small data set, extract it, train on it, and show the results."""

from pathlib import Path
from typing import Annotated, Any

import typer

EXAMPLE = "Example: mmcache demo --out demo"
_STRATEGIES = ("zeros", "dropout", "karmma")


def demo(
    out: Annotated[Path, typer.Option(help="Folder for data, store and runs.")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="Seed of the data set and of the training.")] = 0,
) -> None:
    """Make a small EPIC-KITCHENS-style data set (real MP4 with sound, IMU), extract it, fuse it, show the table."""
    from mmcache.cli.commands.extract import run_extract_command
    from mmcache.cli.commands.fuse import run_fuse_command
    from mmcache.cli.demo_data import write_epic_demo
    from mmcache.cli.display.console import err, say

    root, store, runs = out / "data" / "epic", out / "cache" / "epic.zarr", out / "runs"
    if not (root / "mmcache.yaml").exists():  # written last
        say(f"writing a data set in the EPIC-KITCHENS-100 layout to {root} (H.264 and AAC in MP4, IMU in CSV) ...")
        write_epic_demo(root, seed=seed)
    say("The encoders are small and their weights seeded random numbers: the figures below show how a missing sensor")
    say("is made up for, not what trained encoders reach.\n")

    err.print(f"$ mmcache extract --dataset epic --root {root} --store {store}", style="bold")
    run_extract_command("epic", {"root": root, "store": store}, None, dry_run=False, as_json=False)
    trained: dict[str, Any] = {}
    for strategy in _STRATEGIES:
        err.print(
            f"\n$ mmcache fuse --strategy {strategy} --store {store} --out {runs / strategy} --seed {seed}",
            style="bold",
        )
        layers = {"flags": {"store": store, "out": runs / strategy, "seed": seed}}
        trained[strategy] = run_fuse_command(strategy, layers, show=False)
    _show(out, store, runs, {strategy: run.result for strategy, run in trained.items()})


def _show(folder: Path, store: Path, runs: Path, results: dict[str, Any]) -> None:
    from mmcache.cli.display.console import accuracies, out
    from mmcache.store.feature_store import FeatureStore

    classes = {task: len(names) for task, names in FeatureStore.open(store).tasks.items()}
    chance = {task: 100.0 / count for task, count in classes.items()}
    chance["action"] = chance["verb"] * chance["noun"] / 100.0
    first = next(iter(results.values()))
    told = f"{first['n']} segments with every sensor ({first['recipe']} recipe)"
    out.print(f"\nTop-1 accuracy (%) on '{first['split']}', {told}.", style="bold")
    out.print("An action is right when its verb and its noun are.")
    out.print(accuracies(results, chance))
    for strategy, result in results.items():
        summary = result["summary"]["action"]
        out.print(
            f"{strategy:>8}: action {summary['avg_acc']:.1f} on average over all subsets; "
            f"a missing sensor costs {summary['avg_rel_drop']:.0f} % of the full accuracy",
        )
    out.print(
        f"\nEverything is in {folder}/: data/ (the data set), cache/ (the store), runs/ (the models). Next:",
    )
    for command in (
        f"mmcache evaluate {runs / 'karmma'}",
        f"mmcache store info {store}",
        f"mmcache fuse --strategy mmt --store {store}",
        f"mmcache extract --dataset epic --root {folder / 'data' / 'epic'}",
        "mmcache list strategies",
    ):
        out.print(f"  {command}")
