"""The fills: what stands in for the tokens of a modality that is absent. To add one, write a file and its line."""

from mmcache.fuse.parts.handlers.base import Fill, Filled, Targets
from mmcache.fuse.parts.handlers.karmma import KarmmaFill
from mmcache.fuse.parts.handlers.prompt import PromptFill
from mmcache.fuse.parts.handlers.proxy import ProxyFill
from mmcache.fuse.parts.handlers.reconstruct import ReconstructFill
from mmcache.fuse.parts.handlers.shaspec import ShaSpecFill
from mmcache.fuse.parts.handlers.skip import SkipFill
from mmcache.fuse.parts.handlers.token import TokenFill
from mmcache.fuse.parts.handlers.zeros import ZerosFill

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
