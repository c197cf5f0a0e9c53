"""Many runs of one shape trained as one. `train_pack` is what a sweep calls."""

from mmcache.fuse.packing.groups import pack_groups, pack_key, why_alone
from mmcache.fuse.packing.pack import train_pack

__all__ = ["pack_groups", "pack_key", "train_pack", "why_alone"]
