"""The fills: what stands in for the tokens of a modality that is absent. To add one, write a file and its line."""

from mmcache.fuse.fills.base import Fill, Filled, Targets
from mmcache.fuse.fills.karmma import KarmmaFill
from mmcache.fuse.fills.prompt import PromptFill
from mmcache.fuse.fills.proxy import ProxyFill
from mmcache.fuse.fills.reconstruct import ReconstructFill
from mmcache.fuse.fills.shaspec import ShaSpecFill
from mmcache.fuse.fills.skip import SkipFill
from mmcache.fuse.fills.token import TokenFill
from mmcache.fuse.fills.zeros import ZerosFill

FILLS: dict[str, type[Fill]] = {
    "zeros": ZerosFill,
    "skip": SkipFill,
    "token": TokenFill,
    "karmma": KarmmaFill,
    "reconstruct": ReconstructFill,
    "prompt": PromptFill,
    "proxy": ProxyFill,
    "shaspec": ShaSpecFill,
}

__all__ = ["FILLS", "Fill", "Filled", "Targets"]
