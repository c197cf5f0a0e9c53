"""Skeletons as tokens: each token is the pose at one moment. This encoder has no weights."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mmcache.extract.encoders.base.encoder import Encoder, EncoderInfo, check_known
from mmcache.extract.encoders.base.entry import NO_WEIGHTS
from mmcache.extract.encoders.base.views import View
from mmcache.extract.encoders.inputs import augment
from mmcache.extract.media.base.requests import SkeletonRequest

_FRAMES, _BODIES, _JOINTS = 64, 2, 25
_SPINE = 1  # the middle of the spine in the Kinect's order of joints


def info(name: str) -> EncoderInfo:
    check_known(name, {"joints": None}, "skeleton")
    return EncoderInfo(
        name=name,
        tokens=_FRAMES,
        width=_BODIES * _JOINTS * 3,
        request=SkeletonRequest(frames=_FRAMES, bodies=_BODIES, joints=_JOINTS),
        preprocessing={"origin": "the main actor's spine when first seen"},
        code_version=1,
    )


def build(name: str, weights: str) -> Encoder:
    """`weights` may be anything: there are none."""
    return Joints(info(name), nn.Identity(), NO_WEIGHTS)


class Joints(Encoder):
    """(B, frames, bodies * joints * 3) in metres, relative to the main actor's spine (as CTR-GCN's preprocessing)."""

    def preprocess(self, media: NDArray[Any], view: View | None = None, modality: str = "") -> torch.Tensor:
        """(frames, bodies, joints, 3) in metres -> (frames, bodies * joints * 3); absent joints stay 0."""
        seen = (media != 0).any(axis=-1)  # (frames, bodies, joints)
        spine = media[:, 0, _SPINE]  # (frames, 3)
        there = np.flatnonzero(seen[:, 0, _SPINE])
        origin = spine[there[0]] if len(there) else np.zeros(3, np.float32)
        poses = np.where(seen[..., None], media - origin, 0.0).astype(np.float32)
        if view is not None:
            poses = augment.poses(poses, view.rng)
        return torch.from_numpy(poses.reshape(len(poses), -1))

    def _forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.model(batch)
