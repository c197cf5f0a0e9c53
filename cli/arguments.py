"""Parse arguments that several commands share: lists, NAME=VALUE pairs, the settings file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmcache.store.ground.errors import ConfigError


def comma_list(text: str | None) -> list[str] | None:
    """'a,b' -> ['a', 'b']; None stays None."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def pairs(flag: str, values: Sequence[str] | None) -> dict[str, str]:
    """['rgb=swin3d_t'] -> {'rgb': 'swin3d_t'}. Raises ConfigError for anything else."""
    out = {}
    for value in values or ():
        name, separator, rest = value.partition("=")
        if not separator or not name or not rest:
            raise ConfigError(f"{flag} {value}: expected NAME=VALUE")
        out[name] = rest
    return out


def yaml_value(flag: str, name: str, text: str) -> Any:
    """The value of 'NAME=TEXT', parsed as in a settings file. Raises ConfigError when it is not YAML."""
    from mmcache.common.yaml_file import parse_yaml
    from mmcache.store.ground.text import excerpt

    return parse_yaml(text, f"{flag} {name}={excerpt(text)[1:-1]}")


def settings_layer(section: str, path: Path | None) -> dict[str, dict[str, Any]]:
    """{file: its section} of the given settings file; empty when there is none."""
    from mmcache.common.settings import read_settings

    return {} if path is None else {str(path): read_settings(path).get(section, {})}
