"""What an encoder is: its shape and preprocessing, and a network that turns media into tokens."""

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mmcache.common.plugins import PluginRecord
from mmcache.extract.encoders.base.views import View
from mmcache.extract.encoders.base.weights import state_sha256
from mmcache.extract.media.base.requests import MediaRequest
from mmcache.store.format.fingerprint import Fingerprint
from mmcache.store.ground.errors import ConfigError

PLUGIN = "plugin"  # the key under which fingerprints say which plugin made tokens


@dataclasses.dataclass(frozen=True)
class EncoderInfo:
    """The properties of an encoder that are known before its weights are loaded.

    Attributes:
        tokens, width: T and D of its output.
        request: the media that it needs of a segment.
        preprocessing: everything done to the media, for the fingerprint.
        code_version: raised whenever the family's tokens change for the same weights and media.
        plugin: which plugin it is; None for an encoder of mmcache.
    """

    name: str
    tokens: int
    width: int
    request: MediaRequest
    preprocessing: dict[str, Any]
    code_version: int
    plugin: PluginRecord | None = None

    def described(self) -> dict[str, Any]:
        """Everything done to the media before the network, for the fingerprint."""
        request = dataclasses.asdict(self.request)
        del request["part"]  # each view has its own
        plugin = {PLUGIN: self.plugin.recorded()} if self.plugin is not None else {}
        return {**request, **self.preprocessing, **plugin}

    def cap(self, k: int | None) -> int | None:
        """The k-Average cap in effect; None if it does not shorten the encoder's output."""
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
            view: the random numbers of the augmentations; None is the centre view, which has none.
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
        expected = (len(batch), self.info.tokens, self.info.width)
        if tuple(tokens.shape) != expected:
            raise ConfigError(f"encoder {self.info.name} gave tokens of {tuple(tokens.shape)}; announced: {expected}")
        return tokens.float().cpu().numpy()

    def fingerprint(self, k: int | None, more: Mapping[str, Any] | None = None) -> Fingerprint:
        """The identity of the tokens that are cached with the cap k; `more` is further preprocessing."""
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


def check_known(name: str, known: Mapping[str, Any], family: str) -> None:
    if name not in known:
        raise ConfigError(f"the {family} family has no encoder '{name}'; it has {', '.join(known)}")
