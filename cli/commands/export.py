"""mmcache export: write a run's fusion model to a file for other runtimes."""

from pathlib import Path
from typing import Annotated

import typer

EXAMPLE = "Example: mmcache export runs/epic/karmma-1a2b3c4d --out karmma.onnx"


def export(
    run: Annotated[Path, typer.Argument(help="Run folder, as `mmcache fuse` makes it.")],
    format: Annotated[str | None, typer.Option(help="onnx or torch-export. Default: by the ending of --out, else onnx.")] = None,
    out: Annotated[Path | None, typer.Option(help="File, .onnx or .pt2. Default: RUN/model.onnx or RUN/model.pt2.")] = None,
    batch: Annotated[str, typer.Option(help="dynamic, or a fixed batch size.")] = "dynamic",
    lengths: Annotated[bool, typer.Option("--lengths", help="Add inputs for true token counts.")] = False,
    store: Annotated[str | None, typer.Option(help="The store, for runs of older versions whose store has moved.")] = None,
    plugin: Annotated[list[str] | None, typer.Option(help="FILE.py:NAME of a strategy or fusion that the run uses, repeatable.", rich_help_panel="Run")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:  # fmt: skip
    """Write the fusion model as ONNX or as a torch.export program; the presence mask is one of its inputs.

    Before the file is kept, its outputs for all modality subsets are compared with those of the run.
    """
    from mmcache.cli.display.console import out as console
    from mmcache.cli.display.console import print_json, size, warn
    from mmcache.fuse.options.components import name_plugins
    from mmcache.store.ground.errors import ConfigError

    name_plugins(plugin or ())
    if batch != "dynamic" and not batch.isdecimal():
        raise ConfigError(f"--batch {batch}: dynamic, or a whole number")

    from mmcache.fuse.deploy.export import export_run

    done = export_run(run, out, format, None if batch == "dynamic" else int(batch), lengths, store)
    described = done.metadata
    unknown = [name for name, each in described["modalities"].items() if each["origin"] is None]
    if unknown:
        warn(f"how the tokens of {', '.join(unknown)} were made is no longer known; the file lacks it")
    if as_json:
        written = {"path": done.path, "format": done.format, "bytes": done.bytes, "difference": done.difference}
        print_json({**written, "metadata": described, "beside": done.beside})
        return
    rows = "B" if described["batch"] is None else described["batch"]
    console.print(f"{done.path}: {size(done.bytes)}, {done.format}")
    console.print(f"  in   present ({rows}, {len(described['modalities'])}) bool")
    for name, each in described["modalities"].items():
        console.print(f"       {name} ({rows}, {each['tokens']}, {each['width']}) float32")
        if described["lengths"]:
            console.print(f"       {name}_length ({rows},) int64")
    for i, (name, classes) in enumerate(zip(described["outputs"], described["tasks"].values(), strict=True)):
        console.print(f"  {'out' if i == 0 else '   '}  {name} ({rows}, {len(classes)}) logits")
    subsets = 2 ** len(described["modalities"]) - 1
    console.print(f"  largest difference to the run, over its {subsets} modality subsets: {done.difference:.1e}")
    if done.beside is not None:
        console.print(f"  its classes, modalities and encoders: {done.beside}")
