"""Preprocessing that all encoders of video frames share."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmcache.extract.encoders.base.encoder import Encoder
from mmcache.extract.encoders.base.views import View
from mmcache.extract.encoders.inputs import augment


class VideoEncoder(Encoder):
    """An encoder of short videos; `info.preprocessing` holds the side of its square crop in pixels."""

    def preprocess(self, media: NDArray[Any], view: View | None = None, modality: str = "") -> torch.Tensor:
        """(T, H, W, 3) uint8 -> (T, crop, crop, 3) uint8; normalised later, on the device."""
        crop = self.info.preprocessing["crop"]
        if view is not None:
            return augment.frames(media, crop, view, modality)
        return torch.from_numpy(centre_crop(media, crop))


def centre_crop(frames: NDArray[Any], size: int) -> NDArray[Any]:
    """(T, H, W, 3) -> (T, size, size, 3), contiguous; both sides must be at least `size`."""
    height, width = frames.shape[1:3]
    top, left = (height - size) // 2, (width - size) // 2
    return np.ascontiguousarray(frames[:, top : top + size, left : left + size])


def normalised(batch: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """(B, T, H, W, 3) uint8 -> (B, 3, T, H, W) float, (x / 255 - mean) / std per channel."""
    shape = (1, 3, 1, 1, 1)
    frames = batch.permute(0, 4, 1, 2, 3).float() / 255.0
    return (frames - frames.new_tensor(mean).view(shape)) / frames.new_tensor(std).view(shape)
