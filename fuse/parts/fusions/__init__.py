"""The fusions: networks that mix the tokens of several modalities. To add one, write a file and its line."""

from mmcache.fuse.parts.fusions.base import Fused, Fusion, Prompts
from mmcache.fuse.parts.fusions.mbt import Bottleneck
from mmcache.fuse.parts.fusions.pooled import Concat, Late, Mlp, Sum
from mmcache.fuse.parts.fusions.transformer import Transformer

FUSIONS: dict[str, type[Fusion]] = {
    "transformer": Transformer,
    "mbt": Bottleneck,
    "sum": Sum,
    "concat": Concat,
    "mlp": Mlp,
    "late": Late,
}

__all__ = ["FUSIONS", "Fused", "Fusion", "Prompts"]
