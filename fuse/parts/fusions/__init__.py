"""The fusions: networks that mix the tokens of several modalities. To add one, write a file and its line."""

from mmcache.fuse.parts.fusions.base import Fused, Fusion, Prompts
from mmcache.fuse.parts.fusions.mbt import BottleneckFusion
from mmcache.fuse.parts.fusions.pooled import ConcatFusion, LateFusion, MlpFusion, SumFusion
from mmcache.fuse.parts.fusions.transformer import TransformerFusion

FUSIONS: dict[str, type[Fusion]] = {
    "transformer": TransformerFusion,
    "mbt": BottleneckFusion,
    "sum": SumFusion,
    "concat": ConcatFusion,
    "mlp": MlpFusion,
    "late": LateFusion,
}

__all__ = ["FUSIONS", "Fused", "Fusion", "Prompts"]
