"""mmcache list: the names other commands take."""

from collections.abc import Collection
from typing import Annotated, Any

import typer

EXAMPLE = "Example: mmcache list encoders"
_KINDS = ("datasets", "encoders", "strategies", "fusions", "handlers", "samplers", "options")


def list_names(
    kind: Annotated[
        str, typer.Argument(help="datasets, encoders, strategies, fusions, handlers, samplers, or options.")
    ],
    strategy: Annotated[str | None, typer.Argument(help="For options: whose.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the names as JSON.")] = False,
) -> None:
    """List what other commands take by name, and the options of a strategy."""
    from mmcache.cli.display.console import out, print_json, table
    from mmcache.store.ground.errors import ConfigError, unknown_name

    if kind not in _KINDS:
        raise ConfigError(unknown_name("list", kind, _KINDS))
    columns, rows = _rows(kind, strategy)
    if as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        out.print(table("", columns, rows, text_columns=len(columns)))


def _rows(kind: str, strategy: str | None) -> tuple[list[str], list[list[str]]]:
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

        columns = ["name", "about", "source", "control"]
        return columns, [[n, s.about, s.cite.short, s.control or ""] for n, s in STRATEGIES.items()]
    if kind == "options":
        return _options(strategy)
    return ["name", "about"], [[name, about] for name, about in _parts(kind)]


def _parts(kind: str) -> list[tuple[str, str]]:
    """The fusions, handlers or samplers, each with the first line of its documentation."""
    from mmcache.fuse.data.samplers import SAMPLERS
    from mmcache.fuse.parts.fusions import FUSIONS
    from mmcache.fuse.parts.handlers import HANDLERS
    from mmcache.fuse.strategies import STRATEGIES

    if kind == "samplers":
        return [(name, _first_line(sampler.draw)) for name, sampler in SAMPLERS.items()]
    if kind == "fusions":
        return [(name, _first_line(part)) for name, part in FUSIONS.items()]
    owned = {n: (part, key) for key, each in STRATEGIES.items() for n, part in each.handlers.items()}
    found = [(name, _first_line(part)) for name, part in HANDLERS.items()]
    return found + [(name, f"{_first_line(part)} (strategy {key})") for name, (part, key) in owned.items()]


def _first_line(documented: Any) -> str:
    return (documented.__doc__ or "").strip().split("\n")[0]


def _options(strategy: str | None) -> tuple[list[str], list[list[str]]]:
    """Every option that a strategy has with its own parts: where it belongs, its published and matched values."""
    from mmcache.fuse.options.fields import help_of
    from mmcache.fuse.options.recipes import MATCHED
    from mmcache.fuse.options.resolve import resolve_options
    from mmcache.store.ground.errors import ConfigError

    if strategy is None:
        raise ConfigError("name the strategy: mmcache list options karmma")
    published, matched = resolve_options(strategy, {}), resolve_options(strategy, {}, MATCHED).flat()
    rows = [
        [field.name, section, _told(value), _told(matched.get(field.name)), help_of(field)]
        for section, field, value in published.items()
    ]
    return ["option", "of", "published", "matched", "about"], rows


def _told(value: Any) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


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
