"""The strategies. To add one, write one file beside this one and add its line here."""

from mmcache.fuse.strategies.actionmae import ActionMae
from mmcache.fuse.strategies.base import Citation, Phase, Strategy, TeacherNeed, Term
from mmcache.fuse.strategies.cmpt import Cmpt
from mmcache.fuse.strategies.compass import Compass
from mmcache.fuse.strategies.dropout import Dropout
from mmcache.fuse.strategies.karmma import Karmma
from mmcache.fuse.strategies.karmma_teacher import KarmmaTeacher
from mmcache.fuse.strategies.macjepa import MacJepa
from mmcache.fuse.strategies.map_prompts import Map, MapAttention
from mmcache.fuse.strategies.midl import Midl
from mmcache.fuse.strategies.mmanet import MmaNet
from mmcache.fuse.strategies.mmg import Mmg
from mmcache.fuse.strategies.mmt import Mmt
from mmcache.fuse.strategies.moddrop import ModDrop
from mmcache.fuse.strategies.radevski import Radevski
from mmcache.fuse.strategies.shaspec import ShaSpec
from mmcache.fuse.strategies.skip import Skip
from mmcache.fuse.strategies.zeros import Zeros

STRATEGIES: dict[str, type[Strategy]] = {
    # controls
    "zeros": Zeros,
    "skip": Skip,
    "dropout": Dropout,
    "moddrop": ModDrop,
    # learned stand-ins
    "mmt": Mmt,
    "actionmae": ActionMae,
    "map": Map,
    "map-attention": MapAttention,
    "shaspec": ShaSpec,
    "compass": Compass,
    "cmpt": Cmpt,
    "macjepa": MacJepa,
    # teachers
    "karmma-teacher": KarmmaTeacher,
    "karmma": Karmma,
    "radevski": Radevski,
    "mmanet": MmaNet,
    # alignment, and test time
    "mmg": Mmg,
    "midl": Midl,
}

__all__ = ["STRATEGIES", "Citation", "Phase", "Strategy", "TeacherNeed", "Term"]
