"""Stage two: train fusion models on cached tokens. Masks -> fusion -> strategies -> train -> evaluate."""

from typing import TYPE_CHECKING

from mmcache.store.ground.lazy import lazy_attributes

if TYPE_CHECKING:
    from mmcache.fuse.evaluation.evaluate import evaluate
    from mmcache.fuse.network.model import Model
    from mmcache.fuse.training.train import train

__all__ = ["Model", "evaluate", "train"]
__getattr__ = lazy_attributes(
    __name__,
    {
        "Model": "mmcache.fuse.network.model",
        "train": "mmcache.fuse.training.train",
        "evaluate": "mmcache.fuse.evaluation.evaluate",
    },
)
