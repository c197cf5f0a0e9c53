"""Settings files and sweep files."""

from collections.abc import Callable
from pathlib import Path

import yaml
from edits import tree
from target import Arrays, Target

from mmcache.common.settings import read_settings, resolve
from mmcache.extract.planning.extract_config import ExtractConfig
from mmcache.fuse.options.resolve import resolve_options
from mmcache.fuse.sweep.spec import make_spec, read_spec
from mmcache.store.ground.errors import MmcacheError

_SETTINGS = {
    "extract": {"weights": "random", "k": 64, "encoder": {"rgb": "swin3d_t"}, "views": 2, "splits": ["train"]},
    "fuse": {"epochs": 30, "width": 96, "drop": 0.5, "lr": 1e-3, "modalities": ["rgb", "audio"]},
}
_SWEEP = {
    "strategies": ["dropout", "karmma"],
    "seeds": [0, 1],
    "axes": {"drop": [0.3, 0.5]},
    "fuse": {"epochs": 3, "width": 32},
    "overrides": {"karmma": {"alpha": 0.5}},
    "recipe": "published",
    "with_controls": True,
}


def _written(name: str, content: object) -> Callable[[Path], list[Path]]:
    def write(folder: Path) -> list[Path]:
        (folder / name).write_text(yaml.safe_dump(content))
        return [folder / name]

    return write


def _settings(folder: Path) -> Arrays:
    sections = read_settings(folder / "s.yaml")
    config = resolve(ExtractConfig, {"flags": {"dataset": "epic"}, "s.yaml": sections.get("extract", {})})
    config.check()
    resolve_options("dropout", {"s.yaml": sections.get("fuse", {})})
    return []


def _sweep(folder: Path) -> Arrays:
    make_spec(read_spec(folder / "s.yaml"), "s.yaml")
    return []


TARGETS = (
    Target("settings file", _written("s.yaml", _SETTINGS), _settings, tree(yaml_text=True), (MmcacheError,)),
    Target("sweep file", _written("s.yaml", _SWEEP), _sweep, tree(yaml_text=True), (MmcacheError,)),
)
