"""What a settings file inside the data may set: how tokens are made, never where anything lies or what is reached.

ROOT/mmcache.yaml comes with the data, from whoever made them. A file that a person names with --config may set all.
"""

from collections.abc import Mapping
from typing import Any

from mmcache.extract.datasets import find_dataset
from mmcache.extract.encoders import is_plugin
from mmcache.extract.planning.extract_config import ExtractConfig
from mmcache.store.ground.errors import ConfigError
from mmcache.store.ground.text import excerpt

# Numbers that such a file may set, each within what real data ask for: more views or larger batches than these fill a
# disk or the memory, and a person who means that types it.
_NUMBERS: dict[str, tuple[float, float]] = {
    "k": (1, 100_000),
    "views": (1, 64),
    "batch_size": (1, 256),
    "shard_mb": (1, 4096),
}
ALLOWED = ("k", "views", "dtype", "modalities", "splits", "batch_size", "shard_mb")
_MEANT = "labels"  # labels=none says that a table without labels is meant, which a person must say
_OPTIONS = frozenset(ExtractConfig.__dataclass_fields__)


def take_harmless(section: Mapping[str, Any], dataset: str) -> tuple[dict[str, Any], list[str]]:
    """The options that a file inside the data may set, and the others, as messages name them.

    Numbers are allowed within bounds. Of encoders, those of our own table are allowed: `hf:` and `timm:` name folders
    and downloads, and plugins are programs. Of the data set's own settings, numbers and listed words are allowed, but
    for `labels`: free text may be a path. What is no option or no number at all is handed on, for the check of all
    options to name it.
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
    """Which bound a number lies beyond; '' where it lies within, or is no number."""
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
