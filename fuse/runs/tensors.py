"""Tensors in a run's folder, read so that damage is named: a file that is cut, of another network, or no number."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from mmcache.store.files.user_file import check_regular
from mmcache.store.ground.errors import ConfigError

_LAYERS = ("depth", "layers", "memory")  # how options end that say how many layers or tokens a network has
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


def check_layers(options: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Raise ConfigError where an option counts more layers than there are tensors: building them would take for ever.

    Args:
        options: name -> value of every option of the run.
    """
    for name, value in options.items():
        counts = isinstance(value, int) and not isinstance(value, bool) and name.endswith(_LAYERS)
        if counts and value > max(len(tensors), _FEW):
            raise ConfigError(f"{path} belongs to another model (it has {len(tensors)} tensors, and {name} is {value})")


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
