"""The losses, one a file. Each has a weight option; 0 leaves it out. objective.py adds them up."""

from mmcache.fuse.parts.losses.cross_entropy import cross_entropy
from mmcache.fuse.parts.losses.distillation import distillation

__all__ = ["cross_entropy", "distillation"]
