"""Stage two: train fusion models on cached tokens. Masks -> fusion -> strategies -> train -> evaluate."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmcache.fuse.evaluate import evaluate
    from mmcache.fuse.model import Model
    from mmcache.fuse.train import train

__all__ = ["Model", "evaluate", "train"]
_HOMES = {"Model": "mmcache.fuse.model", "train": "mmcache.fuse.train", "evaluate": "mmcache.fuse.evaluate"}


def __getattr__(name: str) -> Any:
    """Import on first use: the command line reads the tables of this package without waiting for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'mmcache.fuse' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
