"""mmcache list: the names other commands take."""

from collections.abc import Collection
from typing import Annotated, Any

import typer

EXAMPLE = "Example: mmcache list encoders"
_KINDS = ("datasets", "encoders", "fusions", "strategies")


def list_names(
    kind: Annotated[str, typer.Argument(help="datasets, encoders, fusions or strategies.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the names as JSON.")] = False,
) -> None:
    """List the available data sets, encoders, fusions or strategies."""
    from mmcache.cli.display.console import out, print_json, table
    from mmcache.store.ground.errors import ConfigError, unknown_name

    if kind not in _KINDS:
        raise ConfigError(unknown_name("list", kind, _KINDS))
    columns, rows = _rows(kind)
    if as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        out.print(table("", columns, rows, text_columns=len(columns)))


def _rows(kind: str) -> tuple[list[str], list[list[str]]]:
    if kind == "datasets":
        from mmcache.extract.datasets import DATASETS
        from mmcache.extract.datasets.base.plugin import DATASET_PLUGIN

        columns = ["name", "about", "settings (--set NAME=VALUE)"]
        rows = [[name, about, _settings(reader.options)] for name, (reader, about) in DATASETS.items()]
        return columns, rows + [[name, about, ""] for name, about in _installed(DATASET_PLUGIN.group, DATASETS)]
    if kind == "encoders":
        from mmcache.extract.encoders import ENCODERS, OPEN_FAMILIES
        from mmcache.extract.encoders.base.entry import GROUP

        columns = ["name", "modalities", "published weights", "about"]
        entries = {**ENCODERS, **{f"{prefix}:MODEL": entry for prefix, entry in OPEN_FAMILIES.items()}}
        rows = [[n, ", ".join(e.modalities), e.published or "none", e.about] for n, e in entries.items()]
        return columns, rows + [[name, "", "", about] for name, about in _installed(GROUP, ENCODERS)]
    if kind == "strategies":
        from mmcache.fuse.strategies import STRATEGIES

        return ["name", "about", "source"], [[n, s.about, s.source] for n, s in STRATEGIES.items()]
    from mmcache.fuse.config import FUSIONS

    return ["name"], [[name] for name in FUSIONS]


def _installed(group: str, built_in: Collection[str]) -> list[tuple[str, str]]:
    """Name and package of what installed packages offer, without importing any of them."""
    from mmcache.common.plugins import installed_plugins, package_of

    found = installed_plugins(group).items()
    return [
        (name, f"plugin of {package_of(point)}") for name, points in found if name not in built_in for point in points
    ]


def _settings(options: Any) -> str:
    """One line per setting: its default, meaning and allowed values."""
    lines = []
    for name, option in options.items():
        allowed = f" ({', '.join(map(str, option.allowed))})" if option.allowed else ""
        lines.append(f"{name}={option.default}: {option.about}{allowed}")
    return "\n".join(lines)
