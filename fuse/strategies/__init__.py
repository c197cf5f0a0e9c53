"""The strategies. To add one, write one file beside this one and add its line here."""

from mmcache.fuse.strategies import dropout, karmma, karmma_teacher, mmt, zeros
from mmcache.fuse.strategies.base import Strategy

STRATEGIES: dict[str, Strategy] = {
    "zeros": zeros.STRATEGY,
    "dropout": dropout.STRATEGY,
    "mmt": mmt.STRATEGY,
    "karmma-teacher": karmma_teacher.STRATEGY,
    "karmma": karmma.STRATEGY,
}

__all__ = ["STRATEGIES", "Strategy"]
