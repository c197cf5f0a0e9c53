"""The IMU transformer of MMG-Ego4D (CVPR 2023): accelerometer and gyroscope to 106 tokens.

The paper gives 15.55 M parameters and 1.65 GFLOPs and no code; both fit about 106 tokens and 8 layers of width
384. The stem is ours: two convolutions over 848 samples. No weights are published.
"""

from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from mmcache.extract.encoders.base.encoder import Encoder, EncoderInfo, check_known
from mmcache.extract.encoders.base.views import View
from mmcache.extract.encoders.base.weights import build_model
from mmcache.extract.encoders.inputs import augment
from mmcache.extract.media.base.requests import ImuRequest

_CHANNELS, _STRIDE = 6, 8
_GRAVITY = 9.81  # m/s^2, so that accelerations are near 1
# name -> (tokens, width, layers, heads)
_SIZES = {"imu_transformer": (106, 384, 8, 6), "imu_demo": (32, 64, 2, 4)}


def info(name: str) -> EncoderInfo:
    check_known(name, _SIZES, "imu_transformer")
    tokens, width, _, _ = _SIZES[name]
    return EncoderInfo(
        name=name,
        tokens=tokens,
        width=width,
        request=ImuRequest(points=tokens * _STRIDE),
        preprocessing={"acceleration_unit": _GRAVITY},
        code_version=1,
    )


def build(name: str, weights: str) -> Encoder:
    model, called = build_model(name, weights, lambda: ImuTransformer(*_SIZES[name]), None)
    return ImuEncoder(info(name), model, called)


class ImuTransformer(nn.Module):
    """(B, 6, 8 T) samples -> (B, T, D): convolutional stem of stride 8, positions, pre-norm transformer, norm."""

    def __init__(self, tokens: int, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv1d(_CHANNELS, width // 2, kernel_size=9, stride=4, padding=4),
            nn.GELU(),
            nn.Conv1d(width // 2, width, kernel_size=17, stride=2, padding=8),
        )
        self.positions = nn.Parameter(torch.empty(1, tokens, width))
        nn.init.trunc_normal_(self.positions, std=0.02)
        block = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(block, layers, nn.LayerNorm(width), enable_nested_tensor=False)

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        tokens = self.stem(samples).transpose(1, 2)  # (B, T, D)
        return self.blocks(tokens + self.positions)


class ImuEncoder(Encoder):
    """The tokens after the final norm, in time order."""

    def preprocess(self, media: NDArray[Any], view: View | None = None, modality: str = "") -> torch.Tensor:
        """(points, 6) in m/s^2 and rad/s -> (6, points), accelerations in units of gravity."""
        if view is not None:
            media = augment.motion(media, view.rng)
        samples = torch.from_numpy(media.T.copy())
        samples[:3] /= _GRAVITY
        return samples

    def _forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.model(batch)
