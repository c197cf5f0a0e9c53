"""Merge options from three places: a flag wins over the YAML file, the file over the dataclass default.

The YAML has a section for each stage, whose keys are the flags' names with '_' for '-':

    extract: {weights: random, k: 64}
    fuse: {epochs: 30, width: 96}
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import pydantic

from mmcache.common.yaml_file import read_yaml
from mmcache.store.ground.errors import ConfigError, Problems, unknown_name
from mmcache.store.ground.text import excerpt

SETTINGS_FILE = "mmcache.yaml"
_SECTIONS = ("extract", "fuse")
_LONGEST_NAME = 80
_MOST_VALUES = 10_000  # of a settings file, or of one layer of options
_SHOWN = 20  # unknown options of one layer that messages name one by one
Config = TypeVar("Config")


def read_settings(path: Path) -> dict[str, dict[str, Any]]:
    """The sections of a settings file. Raises ConfigError when it is unreadable or has unknown sections."""
    content = read_yaml(path)
    check_size(content, str(path))
    if content is None:
        return {}
    problems = Problems()
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold the sections {' and '.join(_SECTIONS)}, found {type(content).__name__}")
    for section, values in content.items():
        if problems.check_name(f"section in {path}", _named(section), _SECTIONS) and not isinstance(values, dict):
            problems.add(f"section '{section}' of {path} must hold 'option: value' lines")
    problems.raise_if_any()
    return content


def check_size(content: Any, where: str) -> None:
    """Raise ConfigError when options hold more values than any run needs; checking each would take too long."""
    left, pending = _MOST_VALUES, [content]
    while pending:
        value = pending.pop()
        left -= 1
        if isinstance(value, Mapping):
            pending += value.values()
        elif isinstance(value, (list, tuple)):
            pending += value
        if left < 0 or len(pending) > left:
            raise ConfigError(f"{where} holds more than {_MOST_VALUES:,} values; options need far fewer")


def resolve(config: type[Config], layers: Mapping[str, Mapping[str, Any]]) -> Config:
    """Build a config dataclass from layers, later ones winning; None values count as not given.

    Args:
        layers: origin of the values, for messages -> option -> value.

    Raises:
        ConfigError: unknown options or values of the wrong kind, all of them at once.
    """
    problems = Problems()
    known = [field.name for field in dataclasses.fields(config)]  # type: ignore[arg-type]
    merged: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for where, layer in layers.items():
        check_size(layer, where)
        unknown = [name for name in layer if name not in known]
        for name in unknown[:_SHOWN]:
            problems.add(f"{where}: " + unknown_name("option", _named(name), known))
        if len(unknown) > _SHOWN:
            problems.add(f"{where}: {len(unknown) - _SHOWN} more unknown options")
        for name, value in layer.items():
            if name in known and value is not None:
                merged[name], origin[name] = value, where
    try:
        built = pydantic.TypeAdapter(config).validate_python(merged)
    except pydantic.ValidationError as error:
        for fault in error.errors(include_url=False):
            name = str(fault["loc"][0]) if fault["loc"] else ""
            detail = fault["msg"].removeprefix("Value error, ")
            if fault["type"] in ("list_type", "tuple_type"):
                detail += ", such as [1,2]"
            given = f"{origin[name]}: {name} = {excerpt(fault['input'])}" if name in origin else name
            problems.add(f"{given}: {detail}")
        problems.raise_if_any()
        raise
    problems.raise_if_any()
    return built


def _named(key: Any) -> str:
    """A key of a settings file for a message."""
    return key if isinstance(key, str) and len(key) <= _LONGEST_NAME else excerpt(key)
