"""Stage two: train fusion models on cached tokens. Masks -> fusion -> strategies -> train -> evaluate."""

from typing import TYPE_CHECKING

from mmcache.store.ground.lazy import lazy_attributes

if TYPE_CHECKING:
    from mmcache.fuse.evaluation import evaluate
    from mmcache.fuse.model import Model
    from mmcache.fuse.training import train

__all__ = ["Model", "evaluate", "train"]
__getattr__ = lazy_attributes(
    __name__,
    {"Model": "mmcache.fuse.model", "train": "mmcache.fuse.training", "evaluate": "mmcache.fuse.evaluation"},
)
