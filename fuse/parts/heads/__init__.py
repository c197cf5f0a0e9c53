"""Heads that any strategy can use: from fused tokens to logits. To add one, write a file and its line here."""

from mmcache.fuse.parts.heads.base import Head, Outputs
from mmcache.fuse.parts.heads.linear import Gap, Linear
from mmcache.fuse.parts.heads.per_modality import PerModality
from mmcache.fuse.parts.heads.shared import Shared

HEADS: dict[str, type[Head]] = {
    "shared": Shared,
    "per_modality": PerModality,
    "linear": Linear,
    "gap": Gap,
}

__all__ = ["HEADS", "Head", "Outputs"]
