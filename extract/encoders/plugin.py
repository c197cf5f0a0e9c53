"""Plugin encoders as a family with info, entry and build, like the built-in ones. See docs/plugins.md.

The name of one is path/to/file.py:Name, or an entry point of an installed package.
"""

import dataclasses
import inspect
import json
from typing import Any

from mmcache.common.plugin_faults import PluginError, fault_in
from mmcache.common.plugins import PluginKind, load_plugin
from mmcache.extract.encoders.base.encoder import PLUGIN, Encoder, EncoderInfo
from mmcache.extract.encoders.base.entry import GROUP, EncoderEntry
from mmcache.extract.media.base.requests import (
    AudioRequest,
    BoxesRequest,
    ImuRequest,
    MediaRequest,
    SkeletonRequest,
    VideoRequest,
)
from mmcache.store.format.layout import check_name
from mmcache.store.ground.errors import MmcacheError, StoreError

# What an encoder asks for -> the modalities that have it.
_MODALITIES: dict[type[MediaRequest], tuple[str, ...]] = {
    VideoRequest: ("rgb", "flow", "depth", "ir"),
    AudioRequest: ("audio",),
    ImuRequest: ("imu",),
    SkeletonRequest: ("skeleton",),
    BoxesRequest: ("boxes",),
}


def _fault(found: Any) -> str | None:
    if not callable(found):
        return f"it is {type(found).__name__}, which cannot be called"
    try:
        inspect.signature(found).bind("random")
    except TypeError as error:
        return f"it cannot be called with the weights as its one argument ({error})"
    except ValueError:  # a function in C without a signature
        pass
    info = getattr(found, "info", None)
    if not isinstance(info, EncoderInfo):
        return f"its attribute info is {type(info).__name__}, not an EncoderInfo"
    return _info_fault(info)


def _info_fault(info: EncoderInfo) -> str | None:
    try:
        check_name("encoder", info.name)
        json.dumps(info.preprocessing, allow_nan=False)
    except (StoreError, TypeError, ValueError) as error:
        return f"its info cannot be stored: {error}"
    for field, least in (("tokens", 1), ("width", 1), ("code_version", 0)):
        value = getattr(info, field)
        if type(value) is not int or value < least:
            return f"its info.{field} is {value!r}, not a whole number of at least {least}"
    if not isinstance(info.preprocessing, dict) or PLUGIN in info.preprocessing:
        return f"its info.preprocessing must be a dictionary without the key '{PLUGIN}'"
    if not isinstance(info.request, tuple(_MODALITIES)):
        return f"its info.request is {type(info.request).__name__}, not one of those in extract/media/base/requests.py"
    return None


ENCODER_PLUGIN = PluginKind(
    "encoder",
    GROUP,
    "a class or function with the attribute info (an EncoderInfo) that takes the weights and gives an Encoder",
    _fault,
)


def info(name: str) -> EncoderInfo:
    """Shape and preprocessing of a user's encoder, with the record of its source. Raises PluginError."""
    return _load(name, "")[1]


def entry(name: str) -> EncoderEntry:
    """The entry that the table of encoders would have for it. Raises PluginError."""
    request = info(name).request
    modalities = next((names for kind, names in _MODALITIES.items() if isinstance(request, kind)), ())
    return EncoderEntry("plugin", modalities, "the plugin's own", f"plugin {name}")


def build(name: str, weights: str, sha256: str = "") -> Encoder:
    """Build a user's encoder.

    Args:
        sha256: what the source must hash to; "" for anything.

    Raises:
        PluginError: it cannot be loaded, its source is another, it fails, or does not give a valid Encoder.
    """
    found, info = _load(name, sha256)
    try:
        encoder = found(weights)
    except MmcacheError:
        raise
    except Exception as error:
        raise fault_in(error) or PluginError(f"encoder plugin {name}: {type(error).__name__}: {error}") from error
    if not isinstance(encoder, Encoder):
        raise PluginError(f"encoder plugin {name} gave {type(encoder).__name__}, not an Encoder")
    if not hasattr(encoder, "model"):
        raise PluginError(f"encoder plugin {name}: its __init__ must call super().__init__(info, model, weights)")
    if dataclasses.replace(encoder.info, plugin=None) != dataclasses.replace(info, plugin=None):
        raise PluginError(f"encoder plugin {name} gave an encoder with another info than it announced before")
    encoder.info = info
    return encoder


def _load(name: str, sha256: str) -> tuple[Any, EncoderInfo]:
    found, record = load_plugin(name, ENCODER_PLUGIN, sha256)
    return found, dataclasses.replace(found.info, plugin=record)
