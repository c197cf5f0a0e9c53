"""What an encoder is, and how its weights are found, loaded and identified."""

import abc
import dataclasses
import hashlib
import json
import pickle
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mmcache.extract.encoders import PRETRAINED, RANDOM
from mmcache.extract.media.requests import MediaRequest
from mmcache.extract.views import View
from mmcache.store.format.fingerprint import Fingerprint
from mmcache.store.ground.errors import ConfigError, MmcacheError


class WeightsError(MmcacheError):
    """Weights could not be had; the message names `--weights random|PATH`."""

    exit_code = 2


@dataclasses.dataclass(frozen=True)
class EncoderInfo:
    """What is known of an encoder before any weight is loaded.

    Attributes:
        tokens, width: T and D of its output.
        request: the media it wants of a segment.
        preprocessing: everything done to the media, for the fingerprint.
        code_version: raised whenever the family's tokens change for the same weights and media.
        asked_as: the name to build it by, where that cannot name a folder (timm:resnet34); else empty.
    """

    name: str
    tokens: int
    width: int
    request: MediaRequest
    preprocessing: dict[str, Any]
    code_version: int
    asked_as: str = ""

    def described(self) -> dict[str, Any]:
        """Everything done to the media before the network, as fingerprints have it."""
        request = dataclasses.asdict(self.request)
        del request["part"]  # views say theirs
        return {**request, **self.preprocessing}

    def cap(self, k: int | None) -> int | None:
        """The k-Average cap in effect: none where it is no shorter than the encoder's output."""
        return k if k is not None and k < self.tokens else None


class Encoder(abc.ABC):
    """A frozen encoder on a device. `preprocess` runs on decoding threads, `encode` on the device.

    Args:
        info: its shape and preprocessing.
        model: the network, weights loaded.
        weights: what the weights are called in the fingerprint.
    """

    def __init__(self, info: EncoderInfo, model: nn.Module, weights: str) -> None:
        self.info = info
        self.model = model.eval().requires_grad_(False)
        self.weights = weights
        self.device = torch.device("cpu")

    def to(self, device: str) -> "Encoder":
        self.device = torch.device(device)
        self.model.to(self.device)
        return self

    @abc.abstractmethod
    def preprocess(self, media: NDArray[Any], view: View | None = None, modality: str = "") -> torch.Tensor:
        """One segment's media, as `info.request` had it, to what `encode` takes without its batch dimension.

        Args:
            view: what the augmentations are drawn from; None is the centre view, which has none.
            modality: whose media it is, where augmentations differ: flow is mirrored with its sign, only rgb changes
                its colours. The centre view is the same for all.
        """

    @abc.abstractmethod
    def _forward(self, batch: torch.Tensor) -> torch.Tensor:
        """(B, ...) on the device -> (B, T, D)."""

    def encode(self, batch: torch.Tensor) -> NDArray[np.float32]:
        """(B, ...) preprocessed segments -> (B, T, D) tokens, frozen, in inference mode, bf16 autocast on GPU."""
        with (
            torch.inference_mode(),
            torch.autocast("cuda", torch.bfloat16, enabled=self.device.type == "cuda"),
        ):
            tokens = self._forward(batch.to(self.device, non_blocking=True))
        return tokens.float().cpu().numpy()

    def fingerprint(self, k: int | None, more: Mapping[str, Any] | None = None) -> Fingerprint:
        """The identity of the tokens that are cached with the cap k; `more` was done to the media besides."""
        return Fingerprint(
            encoder=self.info.name,
            weights=self.weights,
            weights_sha256=state_sha256(self.model.state_dict()),
            preprocessing={**self.info.described(), **(more or {})},
            k=self.info.cap(k),
            code_version=self.info.code_version,
        )


def capture_output(model: nn.Module, layer: str, batch: torch.Tensor) -> torch.Tensor:
    """Run `model` as its library does and return what its layer of that name gave on the way."""
    captured: list[torch.Tensor] = []
    hook = model.get_submodule(layer).register_forward_hook(lambda module, inputs, output: captured.append(output))
    try:
        model(batch)
    finally:
        hook.remove()
    return captured[0]


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
        kind, seed_text = RANDOM, "0"  # the pipeline warns of it
    if kind == RANDOM:
        if seed_text and not seed_text.isdigit():
            raise WeightsError(f"--weights {choice}: the seed after 'random:' must be a whole number")
        seed = int(seed_text or 0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return make(), f"random:{seed}"
    with torch.random.fork_rng(devices=[]):  # nobody else's draws change by it
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
    except pickle.UnpicklingError as error:  # torch's own message says how to run it
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
    """What another library says, for a message of ours."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def check_known(name: str, known: Mapping[str, Any], family: str) -> None:
    if name not in known:
        raise ConfigError(f"the {family} family has no encoder '{name}'; it has {', '.join(known)}")
