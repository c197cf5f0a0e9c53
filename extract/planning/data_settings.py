"""What a settings file inside the data may set: how tokens are made, never where anything lies or what is reached.

ROOT/mmcache.yaml comes with the data, from whoever made them. A file that a person names with --config may set all.
"""

from collections.abc import Mapping
from typing import Any

from mmcache.extract.datasets import DATASETS
from mmcache.extract.planning.extract_config import ExtractConfig
from mmcache.store.text import excerpt

ALLOWED = ("k", "views", "dtype", "modalities", "splits", "batch_size", "shard_mb")
_OPTIONS = frozenset(ExtractConfig.__dataclass_fields__)


def take_harmless(section: Mapping[str, Any], dataset: str) -> tuple[dict[str, Any], list[str]]:
    """The options that a file inside the data may set, and the others, as messages name them.

    Of encoders, those of our own table are allowed: `hf:` and `timm:` name folders and downloads. Of the data set's own
    settings, numbers and listed words are allowed: free text may be a path. What is no option at all is handed on, for
    the check of all options to name it.
    """
    taken: dict[str, Any] = {}
    ignored: list[str] = []
    for name, value in section.items():
        if name in ("encoder", "set") and isinstance(value, Mapping):
            fits = _plain_encoder if name == "encoder" else _listed(dataset)
            taken[name] = {key: part for key, part in value.items() if fits(key, part)}
            ignored += [f"{name} {key}={excerpt(part, 40)}" for key, part in value.items() if not fits(key, part)]
        elif name in ALLOWED or name not in _OPTIONS:
            taken[name] = value
        else:
            ignored.append(str(name))
    return taken, ignored


def _plain_encoder(modality: Any, name: Any) -> bool:
    return not isinstance(name, str) or ":" not in name


def _listed(dataset: str) -> Any:
    options = DATASETS[dataset][0].options if dataset in DATASETS else {}

    def fits(name: Any, value: Any) -> bool:
        return name not in options or isinstance(value, (int, float)) or bool(options[name].allowed)

    return fits
