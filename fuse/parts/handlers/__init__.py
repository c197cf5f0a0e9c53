"""Handlers of missing modalities that any strategy can use. To add one, write a file beside this one and its line here.

A handler that belongs to one strategy stands in that strategy's file.
"""

from mmcache.fuse.parts.handlers.base import Handled, Handler
from mmcache.fuse.parts.handlers.proxy import Proxy
from mmcache.fuse.parts.handlers.skip import Skip
from mmcache.fuse.parts.handlers.token import Token
from mmcache.fuse.parts.handlers.zeros import Zeros

HANDLERS: dict[str, type[Handler]] = {
    "zeros": Zeros,
    "skip": Skip,
    "token": Token,
    "proxy": Proxy,
}

__all__ = ["HANDLERS", "Handled", "Handler"]
