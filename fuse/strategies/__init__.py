"""The strategies. To add one, write one file beside this one and add its line here."""

from mmcache.fuse.strategies import (
    actionmae,
    cmpt,
    compass,
    dropout,
    karmma,
    karmma_teacher,
    macjepa,
    map_prompts,
    midl,
    mmanet,
    mmg,
    mmt,
    moddrop,
    radevski,
    shaspec,
    skip,
    zeros,
)
from mmcache.fuse.strategies.base import Strategy

STRATEGIES: dict[str, Strategy] = {
    # controls
    "zeros": zeros.STRATEGY,
    "skip": skip.STRATEGY,
    "dropout": dropout.STRATEGY,
    "moddrop": moddrop.STRATEGY,
    # learned stand-ins
    "mmt": mmt.STRATEGY,
    "actionmae": actionmae.STRATEGY,
    "map": map_prompts.INPUT,
    "map-attention": map_prompts.ATTENTION,
    "shaspec": shaspec.STRATEGY,
    "compass": compass.STRATEGY,
    "cmpt": cmpt.STRATEGY,
    "macjepa": macjepa.STRATEGY,
    # teachers
    "karmma-teacher": karmma_teacher.STRATEGY,
    "karmma": karmma.STRATEGY,
    "radevski": radevski.STRATEGY,
    "mmanet": mmanet.STRATEGY,
    # alignment, and test time
    "mmg": mmg.STRATEGY,
    "midl": midl.STRATEGY,
}

__all__ = ["STRATEGIES", "Strategy"]
