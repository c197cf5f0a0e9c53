"""Options live in three places: a flag, one YAML file, the dataclass default. This merges them, strictest first.

The YAML has a section for each stage, whose keys are the flags' names with '_' for '-':

    extract: {weights: random, k: 64}
    fuse: {epochs: 30, width: 96}
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import pydantic
import yaml

from mmcache.store.errors import ConfigError, Problems, unknown_name

SETTINGS_FILE = "mmcache.yaml"
_SECTIONS = ("extract", "fuse")
Config = TypeVar("Config")


def read_settings(path: Path) -> dict[str, dict[str, Any]]:
    """The sections of a settings file. Raises ConfigError when it is unreadable or has unknown sections."""
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: an impossible date or number, or no UTF-8
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if content is None:
        return {}
    problems = Problems()
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold the sections {' and '.join(_SECTIONS)}, found {type(content).__name__}")
    for section, values in content.items():
        if problems.check_name(f"section in {path}", str(section), _SECTIONS) and not isinstance(values, dict):
            problems.add(f"section '{section}' of {path} must hold 'option: value' lines")
    problems.raise_if_any()
    return content


def resolve(config: type[Config], layers: Mapping[str, Mapping[str, Any]]) -> Config:
    """Build a config dataclass from layers, later ones winning; None values count as not given.

    Args:
        layers: where the values come from, as a user would say it -> option -> value.

    Raises:
        ConfigError: unknown options or values of the wrong kind, all of them at once.
    """
    problems = Problems()
    known = [field.name for field in dataclasses.fields(config)]  # type: ignore[arg-type]
    merged: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for where, layer in layers.items():
        for name, value in layer.items():
            if name not in known:
                problems.add(f"{where}: " + unknown_name("option", str(name), known))
            elif value is not None:
                merged[name], origin[name] = value, where
    try:
        built = pydantic.TypeAdapter(config).validate_python(merged)
    except pydantic.ValidationError as error:
        for fault in error.errors(include_url=False):
            name = str(fault["loc"][0]) if fault["loc"] else ""
            detail = fault["msg"].removeprefix("Value error, ")
            if fault["type"] in ("list_type", "tuple_type"):
                detail += ", such as [1,2]"
            given = f"{origin[name]}: {name} = {fault['input']!r}" if name in origin else name
            problems.add(f"{given}: {detail}")
        problems.raise_if_any()
        raise
    problems.raise_if_any()
    return built
