"""Which part of a run an epoch belongs to. Shares of the run become whole epochs here, and nowhere else."""

import math

from mmcache.fuse.config import FuseConfig


def _first(share: float, epochs: int) -> int:
    """How many first epochs a share of the run is: rounded up, but never all."""
    return min(math.ceil(share * epochs), epochs - 1)


def only_aligns(config: FuseConfig, epoch: int) -> bool:
    """Whether the epoch learns by the loss align alone, from unlabelled segments too."""
    return epoch < _first(config.align_share, config.epochs)


def aligns(config: FuseConfig, epoch: int) -> bool:
    """Whether the loss align counts: in the first epochs alone where they are for it, else in all (MMG-Ego4D)."""
    return config.align > 0 and (config.align_share == 0 or only_aligns(config, epoch))


def keeps_everything(config: FuseConfig, epoch: int) -> bool:
    """Whether the epoch keeps all that is present, whatever the law says."""
    return only_aligns(config, epoch) or epoch < _first(config.full_share, config.epochs)


def is_meta(config: FuseConfig, epoch: int) -> bool:
    """Whether the epoch is made of few-shot episodes."""
    meta = _first(config.meta_share, config.epochs)
    return epoch >= config.epochs - meta and not only_aligns(config, epoch)


def has_margin(config: FuseConfig, epoch: int) -> bool:
    """Whether MMANet's losses count."""
    return epoch >= _first(config.margin_share, config.epochs)
