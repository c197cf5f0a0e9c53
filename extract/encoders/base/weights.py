"""Find, load and identify the weights of an encoder."""

import hashlib
import json
import pickle
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mmcache.extract.encoders.base.entry import PRETRAINED, RANDOM
from mmcache.store.ground.errors import MmcacheError


class WeightsError(MmcacheError):
    """Weights cannot be loaded; the message names `--weights random|PATH`."""

    exit_code = 2


def state_sha256(state: Mapping[str, torch.Tensor]) -> str:
    """A digest of names, dtypes, shapes and values: the identity of weights, whatever file they came from."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def build_model(
    name: str,
    choice: str,
    make: Callable[[], nn.Module],
    published: tuple[str, Callable[[], Mapping[str, torch.Tensor]]] | None,
) -> tuple[nn.Module, str]:
    """Make a model with the weights the user chose.

    Args:
        choice: `pretrained`, `random`, `random:SEED`, or the path of a file, or of a folder with `<name>.*`.
        make: builds the network with whatever weights its constructor draws.
        published: the published weights' name, and how to download them; None where there are none.

    Returns:
        The model, and what its weights are called in the fingerprint.

    Raises:
        WeightsError: they cannot be downloaded, found or fitted; the message says which flag to use.
    """
    kind, _, seed_text = choice.partition(":")
    if choice == PRETRAINED and published is None:
        kind, seed_text = RANDOM, "0"  # plan_warnings tells the user
    if kind == RANDOM:
        if seed_text and not seed_text.isdigit():
            raise WeightsError(f"--weights {choice}: the seed after 'random:' must be a whole number")
        seed = int(seed_text or 0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return make(), f"random:{seed}"
    with torch.random.fork_rng(devices=[]):  # the draws of other code stay the same
        torch.manual_seed(0)
        model = make()
    if choice == PRETRAINED:
        assert published is not None
        title, download = published
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                model.load_state_dict(download())
        except WeightsError:
            raise
        except Exception as error:  # every library fails to download in its own way
            raise WeightsError(
                f"the published weights of {name} ({title}) could not be downloaded: {one_line(error)}. "
                "Where there is no network, use --weights random or --weights PATH."
            ) from error
        return model, f"pretrained:{title}"
    path = _weights_file(name, Path(choice))
    load_weights(model, path, name)
    return model, f"file:{path.name}"


def _weights_file(name: str, path: Path) -> Path:
    """The file for encoder `name`: `path` itself, or `<name>.safetensors|.pth|.pt` in the folder `path`."""
    if path.is_file():
        return path
    if path.is_dir():
        for suffix in (".safetensors", ".pth", ".pt"):
            if (path / f"{name}{suffix}").is_file():
                return path / f"{name}{suffix}"
        raise WeightsError(f"no {name}.safetensors, {name}.pth or {name}.pt in the folder {path} given as --weights")
    raise WeightsError(f"--weights {path}: no such file or folder. Allowed: pretrained, random, random:SEED, PATH.")


def load_weights(model: nn.Module, path: Path, name: str) -> None:
    """Load a state dict from a safetensors or torch file; pickled code is never run.

    Raises:
        WeightsError: the file cannot be read, or does not fit `model`.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(path)
        else:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Detected pickle protocol")
                state = torch.load(path, map_location="cpu", weights_only=True)
        for wrapper in ("state_dict", "model"):
            if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
                state = state[wrapper]
    except pickle.UnpicklingError as error:  # torch's own message advises running it
        if zipfile.is_zipfile(path) or path.read_bytes()[:1] == b"\x80":
            reason = "holds pickled code, which is never run; save it as safetensors"
        else:
            reason = "is no readable weights file: neither safetensors nor torch"
        raise WeightsError(f"--weights {path} {reason}") from error
    except Exception as error:  # torch, pickle and safetensors raise without a common base
        raise WeightsError(f"--weights {path} is no readable weights file: {one_line(error)}") from error
    try:
        model.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise WeightsError(f"--weights {path} does not fit {name}: {one_line(error)}") from error


def one_line(error: Exception) -> str:
    """The message of another library's error on one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__
