"""Tensors in a run's folder, read so that damage is named: a file that is cut, of another network, or no number."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from mmcache.fuse.config import FuseConfig
from mmcache.store.files.user_file import check_regular
from mmcache.store.ground.errors import ConfigError

_LAYERS = ("depth", "pool_depth", "fill_depth", "prompt_layers", "memory")  # a network has a tensor for each, or none
_FEW = 64  # layers that may have no tensor of their own


def read_tensors(path: Path, remedy: str) -> dict[str, torch.Tensor]:
    """The tensors of a file, by name. Raises ConfigError, with what to do, where it cannot be read."""
    try:
        check_regular(path)
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())[:200]
        raise ConfigError(f"{path} is damaged ({reason}): {remedy}") from None
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ConfigError(f"{path} is damaged ({name[:80]} holds NaN or infinity): {remedy}")
    return tensors


def check_depth(config: FuseConfig, tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Raise ConfigError where options name more layers than there are tensors: building them would take for ever."""
    for name in _LAYERS:
        value = getattr(config, name)
        if value > max(len(tensors), _FEW):
            raise ConfigError(f"{path} is of another model (it has {len(tensors)} tensors, and {name} is {value})")


def check_same(given: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor], path: Path, remedy: str) -> None:
    """Raise ConfigError unless the tensors of `path` have the names, shapes and types of a model's."""
    reason = ""
    if set(given) != set(wanted):
        odd = sorted(set(given) ^ set(wanted))
        reason = f"{odd[0][:80]} is {'not in it' if odd[0] in wanted else 'no tensor of the model'}"
    for name, tensor in given.items() if not reason else ():
        if tensor.shape != wanted[name].shape or tensor.dtype != wanted[name].dtype:
            has, needs = (f"{tuple(t.shape)} {str(t.dtype).removeprefix('torch.')}" for t in (tensor, wanted[name]))
            reason = f"{name} is {has}, and the model has {needs}"
            break
    if reason:
        raise ConfigError(f"{path} is damaged or of another model ({reason}): {remedy}")
