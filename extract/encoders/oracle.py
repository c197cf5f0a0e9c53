"""Pass on the tokens of the data set oracle, which need no encoding."""

from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from mmcache.common.oracle_world import WIDTH
from mmcache.extract.encoders.base.encoder import Encoder, EncoderInfo, check_known
from mmcache.extract.encoders.base.entry import NO_WEIGHTS
from mmcache.extract.encoders.base.views import View
from mmcache.extract.media.oracle_reader import OracleRequest

_TOKENS = {"oracle": 8, "oracle_2": 2, "oracle_32": 32}


def info(name: str) -> EncoderInfo:
    check_known(name, _TOKENS, "oracle")
    return EncoderInfo(
        name=name,
        tokens=_TOKENS[name],
        width=WIDTH,
        request=OracleRequest(tokens=_TOKENS[name]),
        preprocessing={},
        code_version=1,
    )


def build(name: str, weights: str) -> Encoder:
    """`weights` may be anything: there are none."""
    return PassedThrough(info(name), nn.Identity(), NO_WEIGHTS)


class PassedThrough(Encoder):
    """(B, T, D) as it came."""

    def preprocess(self, media: NDArray[Any], view: View | None = None, modality: str = "") -> torch.Tensor:
        return torch.from_numpy(media)

    def _forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.model(batch)
