"""mmcache store: inspect, verify, repair, reduce and merge stores; import and export HDF5 and .npy files."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mmcache.store.exchange.import_summary import ImportSummary
    from mmcache.store.feature_store import FeatureStore
    from mmcache.store.manage.repair import Repair
    from mmcache.store.manage.verify import Finding

app = typer.Typer(
    no_args_is_help=True,
    help="Inspect, verify, repair, reduce and merge stores; import and export HDF5 and .npy files.",
)

_SHARD_MB = Annotated[float, typer.Option(help="Approximate size of a shard in MiB.")]
_HDF5 = (".h5", ".hdf5", ".hdf")


@app.command(epilog="Example: mmcache store info cache/epic.zarr")
def info(
    path: Annotated[str, typer.Argument(help="A store: a folder, or an address such as s3://bucket/epic.zarr.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show the contents of a store: coverage by split and modality, encoders, bytes, failures."""
    from mmcache.cli.display.console import print_json
    from mmcache.store.feature_store import FeatureStore
    from mmcache.store.manage.info import describe

    store = FeatureStore.open(path)
    if as_json:
        print_json(describe(store))
    else:
        _show_info(path, store)


def _show_info(path: str, store: "FeatureStore") -> None:
    from mmcache.cli.display.console import out, size, table
    from mmcache.store.ground.failure_groups import group_lines
    from mmcache.store.manage.info import describe

    described = describe(store)
    total = f", {size(described['bytes'])}" if described["bytes"] is not None else ""
    out.print(f"{path}: {described['dataset']}, {described['segments']} segments{total}")
    tasks = ", ".join(f"{task} ({count} classes)" for task, count in described["tasks"].items())
    split = described["eval_split"]
    reported = (
        f"results are reported on '{split}'"
        if split
        else "`mmcache fuse` needs --eval-split: the store names no split for results"
    )
    out.print(f"tasks: {tasks or 'none'}; {reported}")
    rows = []
    for a in described["arrays"]:
        shape = f"{a['views']} x {a['tokens']} x {a['width']}"
        rows.append([a["name"], a["weights"], shape, a["dtype"], "-" if a["bytes"] is None else size(a["bytes"])])
    out.print(table("", ["tokens", "weights", "views x T x D", "dtype", "bytes"], rows, text_columns=2))
    for a in described["arrays"]:
        if a["rounding_error"] is not None:
            mean, worst = (100 * a["rounding_error"][key] for key in ("mean", "worst"))
            out.print(f"{a['name']}: int8 changes a segment by {mean:.2f} % (worst {worst:.2f} %)")
    rows = [
        [a["name"], split, *counts.values()] for a in described["arrays"] for split, counts in a["coverage"].items()
    ]
    out.print(table("", ["tokens", "split", "cached", "missing", "failed", "to do"], rows, text_columns=2))
    for group in group_lines(store.failures):
        out.print(f"failed: {group}")


@app.command(epilog="Example: mmcache store verify cache/epic.zarr --repair")
def verify(
    path: Annotated[Path, typer.Argument(help="A store.")],
    repair: Annotated[
        bool, typer.Option("--repair", help="Restore metadata, and mark damaged segments to be done again.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Verify a whole store: checksums, presence, values, lengths. Exit code 1 if a problem remains.

    --repair restores metadata from spare copies and marks damaged segments, which `mmcache extract` then does again.
    """
    from mmcache.cli.display.console import Bars, out, print_json
    from mmcache.store.manage.repair import repair as repair_store
    from mmcache.store.manage.verify import verify as verify_store

    with Bars() as bars:

        def progress(done: int, total: int) -> None:
            bars.update("checking", done, total, "shards")

        result = repair_store(path, progress) if repair else None
        findings = result.found if result else verify_store(path, progress)
    left = result.left if result else findings
    if as_json:
        listed = [finding.to_json() for finding in findings]
        print_json({"found": listed, "left": len(left), "to_do": result.to_do} if result else listed)
    else:
        _show_findings(path, findings)
        if result:
            _show_repair(path, result)
        elif not findings:
            out.print(f"{path}: sound")
    if left:
        raise typer.Exit(1)


def _show_findings(path: Path, findings: "list[Finding]") -> None:
    from mmcache.cli.display.console import out
    from mmcache.store.ground.failure_groups import group_reasons

    for group in group_reasons((finding.where, finding.problem, finding.segments) for finding in findings):
        out.print(str(group))
    if findings:
        out.print(f"{path}: {len(findings)} problems")


def _show_repair(path: Path, result: "Repair") -> None:
    from mmcache.cli.display.console import out
    from mmcache.store.ground.failure_groups import group_reasons

    if not result.found:
        out.print(f"{path}: sound, nothing to repair")
    for name, count in result.to_do.items():
        out.print(
            f"{name}: {count} segments are marked; the command that made them, e.g. `mmcache extract`, does them again"
        )
    if result.found and not result.left:
        out.print(f"{path}: repaired")
    for group in group_reasons((finding.where, finding.problem, finding.segments) for finding in result.left):
        out.print(f"not repaired: {group}")


@app.command(epilog="Example: mmcache store reduce cache/epic.zarr --k 100")
def reduce(
    path: Annotated[Path, typer.Argument(help="A store.")],
    k: Annotated[int | None, typer.Option(help="Largest number of tokens per segment.")] = None,
    dtype: Annotated[str | None, typer.Option(help="Store as float16, float32 or int8. Default: unchanged.")] = None,
    tokens: Annotated[str | None, typer.Option(help="Only these, e.g. rgb,audio/ast_b. Default: all.")] = None,
    shard_mb: _SHARD_MB = 128.0,
) -> None:
    """Add a smaller token set for each one, by k-Average or as int8, without encoders. Continues when run again."""
    from mmcache.cli.arguments import comma_list
    from mmcache.cli.display.console import Bars, out
    from mmcache.store.manage.reduce import reduce_store

    with Bars() as bars:
        made = reduce_store(path, k, comma_list(tokens), int(shard_mb * 2**20), bars.segments, dtype)
    out.print(f"{path}: {', '.join(made)}")


@app.command(epilog="Example: mmcache store merge node1.zarr node2.zarr --store cache/epic.zarr")
def merge(
    parts: Annotated[list[Path], typer.Argument(help="The stores to merge.")],
    store: Annotated[Path, typer.Option(help="Store to write, or to continue.")],
) -> None:
    """Merge several stores: parts extracted on different machines, or different segments of one data set.

    Whole shards are copied by reference if the file system allows. Continues when run again.
    """
    from mmcache.cli.display.console import Bars, out
    from mmcache.store.manage.merge import merge_stores

    with Bars() as bars:
        merged = merge_stores(parts, store, bars.segments)
    names = ", ".join(f"{modality}/{encoder}" for modality, encoder in merged.arrays) or "no tokens"
    out.print(f"{store}: {len(merged)} segments, {names}")


@app.command("import", epilog="Example: mmcache store import features.h5 --store cache/mine.zarr")
def import_(
    source: Annotated[Path, typer.Argument(help="An HDF5 file, or a folder of .npy files.")],
    store: Annotated[Path, typer.Option(help="Store to write, or to continue.")],
    dtype: Annotated[str | None, typer.Option(help="Store as float16, float32 or int8. Default: unchanged.")] = None,
    tasks: Annotated[str | None, typer.Option(help="Folder: label columns of segments.csv, e.g. verb,noun.")] = None,
    max_failures: Annotated[float, typer.Option(min=0, max=1, help="Share of segments that may fail.")] = 0.01,
    shard_mb: _SHARD_MB = 128.0,
) -> None:
    """Make a store from an HDF5 file or a folder of .npy files. Continues when run again.

    HDF5: features/<modality> (N, T, D) of float16 or float32, optional lengths/<modality> and present/<modality>;
    labels/<task>; split; optional ids (else rows are numbered from 0) and classes/<task>.

    Folder: segments.csv (id, split, labels), <modality>/<id>.npy (T, D) of floats; optional classes/<task>.txt. Without
    the column id, files are named by the numbers of the rows, from 0 or from 1.

    Exit code 3 if a modality has no tokens, or more segments fail than --max-failures allows.
    """
    from mmcache.cli.arguments import comma_list
    from mmcache.cli.display.console import Bars, out
    from mmcache.store.exchange.hdf5_import import import_hdf5
    from mmcache.store.exchange.npy_import import import_npy
    from mmcache.store.ground.errors import ConfigError

    shard_bytes = int(shard_mb * 2**20)
    with Bars() as bars:
        if source.is_dir():
            imported = import_npy(source, store, shard_bytes, bars.segments, dtype, comma_list(tasks))
        elif tasks is not None:
            raise ConfigError("--tasks is for folders of .npy files; an HDF5 file names its tasks under 'labels'")
        else:
            imported = import_hdf5(source, store, shard_bytes, bars.segments, dtype)
    _show_imported(imported)
    imported.check(max_failures)
    out.print(f"{source} -> {store}")


def _show_imported(imported: "ImportSummary") -> None:
    from mmcache.cli.display.console import say, warn

    for name, counts in imported.counts().items():
        say(f"{name}: {counts['cached']} cached, {counts['missing']} missing, {counts['failed']} failed")
    for note in imported.notes:
        say(note)
    for warning in imported.warnings():
        warn(warning)


@app.command("export", epilog="Example: mmcache store export cache/epic.zarr features.h5")
def export(
    path: Annotated[Path, typer.Argument(help="A store.")],
    target: Annotated[Path, typer.Argument(help="A file ending in .h5, or a new folder for .npy files.")],
    view: Annotated[int, typer.Option(help="Which cached view.")] = 0,
) -> None:
    """Export tokens, labels, splits and presence to HDF5 or .npy files, which import can read."""
    from mmcache.cli.display.console import Bars, out
    from mmcache.store.exchange.hdf5_export import export_hdf5
    from mmcache.store.exchange.npy_export import export_npy
    from mmcache.store.feature_store import FeatureStore
    from mmcache.store.ground.errors import ConfigError

    if target.suffix and target.suffix not in _HDF5:
        raise ConfigError(f"{target}: give a file ending in {', '.join(_HDF5)}, or a folder name without an ending")
    write = export_hdf5 if target.suffix else export_npy
    with Bars() as bars:
        write(FeatureStore.open(path), target, view, bars.segments)
    out.print(f"{path} -> {target}")
