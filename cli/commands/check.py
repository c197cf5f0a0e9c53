"""mmcache check: test the encoders on this machine."""

from typing import Annotated

import typer

EXAMPLE = "Example: mmcache check --encoder swin3d_b --encoder ast_b --weights pretrained"


def check(
    encoder: Annotated[
        list[str] | None, typer.Option(help="Only this one, repeatable, or path/to/file.py:NAME. Default: all.")
    ] = None,
    weights: Annotated[str, typer.Option(help="random, random:SEED, pretrained, or PATH.")] = "random",
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:  # fmt: skip
    """Run one segment through every encoder: shape, dtype, milliseconds, bytes. Exit code 1 where one fails."""
    import dataclasses

    from mmcache.cli.display.console import out, print_json, say, size, table, warn
    from mmcache.extract.encoders import ENCODERS, entry_of
    from mmcache.extract.run.encoder_check import check_encoder

    names = encoder or list(ENCODERS)
    for name in names:
        entry_of(name)  # refuse a wrong name before loading the first network
    checked = []
    for name in names:
        if not as_json:
            say(f"{name} ...")
        checked.append(check_encoder(name, weights))
    failed = [result for result in checked if result.problem is not None]
    if as_json:
        print_json([dataclasses.asdict(result) for result in checked])
    else:
        columns = ["encoder", "tokens", "dtype", "ms", "a segment\nin float16", ""]
        rows = [
            [
                result.encoder,
                "-" if result.shape is None else f"{result.shape[0]} x {result.shape[1]}",
                result.dtype or "-",
                "-" if result.milliseconds is None else f"{result.milliseconds:.0f}",
                "-" if result.bytes is None else size(result.bytes),
                "ok" if result.problem is None else "FAILED",
            ]
            for result in checked
        ]
        out.print(table("", columns, rows))
        for result in failed:
            warn(f"{result.encoder}: {result.problem}")
    if failed:
        raise typer.Exit(1)
