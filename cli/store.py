"""mmcache store: look at a store, check it, and exchange it with HDF5."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Look at a store, check it, exchange it with HDF5.")


@app.command(epilog="Example: mmcache store info cache/epic.zarr")
def info(
    path: Annotated[Path, typer.Argument(help="A store.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show what a store holds: coverage by split and modality, encoders, bytes, failures."""
    from mmcache.cli.console import out, print_json, size, table
    from mmcache.store.feature_store import FeatureStore
    from mmcache.store.info import describe

    described = describe(FeatureStore.open(path))
    if as_json:
        print_json(described)
        return
    out.print(
        f"{path}: {described['dataset']}, {described['segments']} segments, {size(described['bytes'])}",
        markup=False,
    )
    tasks = ", ".join(f"{task} ({count} classes)" for task, count in described["tasks"].items())
    out.print(f"tasks: {tasks}; results are reported on '{described['eval_split']}'", markup=False)
    for a in described["arrays"]:
        shape = f"{a['views']} x {a['tokens']} x {a['width']} {a['dtype']}"
        out.print(f"{a['name']}: {shape} a segment (views, tokens, width), weights {a['weights']}", markup=False)
    rows = [
        [a["name"].partition("/")[0], split, *counts.values()]
        for a in described["arrays"]
        for split, counts in a["coverage"].items()
    ]
    out.print(table("", ["modality", "split", "cached", "missing", "failed", "to do"], rows, text_columns=2))
    for reason, count in described["failures"].items():
        out.print(f"failed: {count} x {reason}", markup=False)


@app.command(epilog="Example: mmcache store verify cache/epic.zarr")
def verify(
    path: Annotated[Path, typer.Argument(help="A store.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Read all of a store and check it: checksums, presence, values, lengths. Exit code 1 if anything is wrong."""
    from mmcache.cli.console import Bars, out, print_json
    from mmcache.store.verify import verify as verify_store

    with Bars() as bars:
        findings = verify_store(path, lambda done, total: bars.update("checking", done, total, "shards"))
    if as_json:
        print_json([finding.to_json() for finding in findings])
    for finding in findings if not as_json else []:
        out.print(str(finding), markup=False)
    if findings:
        out.print(f"{path}: {len(findings)} problems", markup=False) if not as_json else None
        raise typer.Exit(1)
    if not as_json:
        out.print(f"{path}: sound", markup=False)


@app.command(epilog="Example: mmcache store reduce cache/epic.zarr --k 100")
def reduce(
    path: Annotated[Path, typer.Argument(help="A store.")],
    k: Annotated[int, typer.Option(help="The most tokens a segment keeps.")],
    tokens: Annotated[str | None, typer.Option(help="Only these, e.g. rgb,audio/ast_b. Default: all.")] = None,
    shard_mb: Annotated[float, typer.Option(help="About how large a shard gets, in MiB.")] = 128.0,
) -> None:
    """Add a shorter token set beside each one, by k-Average; no encoder runs again. Stopped, it continues."""
    from mmcache.cli.console import Bars, out
    from mmcache.cli.options import comma_list
    from mmcache.store.reduce import reduce_store

    with Bars() as bars:
        made = reduce_store(
            path,
            k,
            comma_list(tokens),
            int(shard_mb * 2**20),
            lambda name, done, total: bars.update(name, done, total, "segments"),
        )
    out.print(f"{path}: {', '.join(made)}", markup=False)


@app.command("import", epilog="Example: mmcache store import features.h5 --store cache/mine.zarr")
def import_(
    file: Annotated[Path, typer.Argument(help="An HDF5 file.")],
    store: Annotated[Path, typer.Option(help="Store to write, or to continue.")],
    shard_mb: Annotated[float, typer.Option(help="About how large a shard gets, in MiB.")] = 128.0,
) -> None:
    """Make a store from an HDF5 file.

    Form: features/<modality> (N, T, D), optional lengths/<modality> and present/<modality>; labels/<task>; split;
    ids; optional classes/<task>.
    """
    from mmcache.cli.console import Bars, out
    from mmcache.store.hdf5 import import_hdf5

    with Bars() as bars:
        import_hdf5(
            file, store, int(shard_mb * 2**20), lambda name, done, total: bars.update(name, done, total, "segments")
        )
    out.print(f"{file} -> {store}", markup=False)


@app.command("export", epilog="Example: mmcache store export cache/epic.zarr features.h5")
def export(
    path: Annotated[Path, typer.Argument(help="A store.")],
    file: Annotated[Path, typer.Argument(help="The HDF5 file to write.")],
    view: Annotated[int, typer.Option(help="Which cached view.")] = 0,
) -> None:
    """Write a store's tokens, labels, splits and presence to one HDF5 file, in the form that import reads."""
    from mmcache.cli.console import Bars, out
    from mmcache.store.feature_store import FeatureStore
    from mmcache.store.hdf5 import export_hdf5

    with Bars() as bars:
        export_hdf5(
            FeatureStore.open(path), file, view, lambda name, done, total: bars.update(name, done, total, "segments")
        )
    out.print(f"{path} -> {file}", markup=False)
