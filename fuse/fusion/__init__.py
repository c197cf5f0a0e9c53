"""The fusions: networks that mix the tokens of several modalities."""

from torch import nn

from mmcache.fuse.fusion.transformer import Fused, TransformerFusion

FUSIONS: dict[str, type[nn.Module]] = {"transformer": TransformerFusion}

__all__ = ["FUSIONS", "Fused", "TransformerFusion"]
