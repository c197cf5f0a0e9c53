"""Filter the settings of a file inside the data: it may set how tokens are made, but no paths and no addresses.

The author of the data writes ROOT/mmcache.yaml, so it is not trusted. A file given with --config may set everything.
"""

from collections.abc import Mapping
from typing import Any

from mmcache.extract.datasets import find_dataset
from mmcache.extract.encoders import is_plugin
from mmcache.extract.planning.extract_config import ExtractConfig
from mmcache.store.ground.errors import ConfigError
from mmcache.store.ground.text import excerpt

# Numbers that such a file may set, within these bounds: more views or larger batches fill a disk or the memory, so a
# user has to type them.
_NUMBERS: dict[str, tuple[float, float]] = {
    "k": (1, 100_000),
    "views": (1, 64),
    "batch_size": (1, 256),
    "shard_mb": (1, 4096),
}
ALLOWED = ("k", "views", "dtype", "modalities", "splits", "batch_size", "shard_mb")
_MEANT = "labels"  # labels=none accepts a table without labels, which only the user may decide
_OPTIONS = frozenset(ExtractConfig.__dataclass_fields__)


def take_harmless(section: Mapping[str, Any], dataset: str) -> tuple[dict[str, Any], list[str]]:
    """Split options into those that a file inside the data may set, and the names of the others for messages.

    Numbers are allowed within bounds. Of encoders, the built-in ones are allowed: `hf:` and `timm:` name folders
    and downloads, and plugins are programs. Of the data set's own settings, numbers and listed words are allowed, but
    for `labels`: free text may be a path. Unknown options and values that are no numbers are kept, so that
    the check of all options names them.
    """
    taken: dict[str, Any] = {}
    ignored: list[str] = []
    for name, value in section.items():
        if name in ("encoder", "set") and isinstance(value, Mapping):
            fits = _plain_encoder if name == "encoder" else _listed(dataset)
            taken[name] = {key: part for key, part in value.items() if fits(key, part)}
            ignored += [f"{name} {key}={excerpt(part, 40)}" for key, part in value.items() if not fits(key, part)]
        elif name in _NUMBERS and (beyond := _beyond(value, *_NUMBERS[name])):
            ignored.append(f"{name} {excerpt(value, 40)} ({beyond})")
        elif name in ALLOWED or name not in _OPTIONS:
            taken[name] = value
        else:
            ignored.append(str(name))
    return taken, ignored


def _beyond(value: Any, least: float, most: float) -> str:
    """The bound that a number exceeds; '' if it is within bounds, or is no number."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return ""
    return f"at most {most:g}" if number > most else f"at least {least:g}" if not number >= least else ""


def _plain_encoder(modality: Any, name: Any) -> bool:
    return not isinstance(name, str) or not (":" in name or is_plugin(name))


def _listed(dataset: str) -> Any:
    try:
        options = find_dataset(dataset)[0].options
    except ConfigError:  # the check of all options names it
        options = {}

    def fits(name: Any, value: Any) -> bool:
        if name not in options:
            return True
        return name != _MEANT and (isinstance(value, (int, float)) or bool(options[name].allowed))

    return fits
