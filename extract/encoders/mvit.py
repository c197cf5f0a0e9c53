"""Multiscale Vision Transformers from torchvision, pre-trained on Kinetics-400.

Version 1 is Fan et al., ICCV 2021, version 2 Li et al., CVPR 2022.
"""

import torch
from torchvision.models import video as tv

from mmcache.extract.encoders.base.downloads import torchvision_weights
from mmcache.extract.encoders.base.encoder import Encoder, EncoderInfo, capture_output, check_known
from mmcache.extract.encoders.base.weights import build_model
from mmcache.extract.encoders.inputs.video_frames import VideoEncoder, normalised
from mmcache.extract.media.base.requests import VideoRequest

# name -> (torchvision constructor, its weights)
_PUBLISHED = {
    "mvit_v1_b": (tv.mvit_v1_b, tv.MViT_V1_B_Weights.KINETICS400_V1),
    "mvit_v2_s": (tv.mvit_v2_s, tv.MViT_V2_S_Weights.KINETICS400_V1),
}
_MEAN, _STD = (0.45, 0.45, 0.45), (0.225, 0.225, 0.225)
_FRAMES, _SHORT_SIDE, _CROP = 16, 256, 224  # its position table is of this size


def info(name: str) -> EncoderInfo:
    check_known(name, _PUBLISHED, "mvit")
    return EncoderInfo(
        name=name,
        tokens=1 + (_FRAMES // 2) * (_CROP // 32) ** 2,  # the class token comes first
        width=768,
        request=VideoRequest(frames=_FRAMES, short_side=_SHORT_SIDE),
        preprocessing={"crop": _CROP, "mean": list(_MEAN), "std": list(_STD)},
        code_version=1,
    )


def build(name: str, weights: str) -> Encoder:
    make, published = _PUBLISHED[name]
    model, called = build_model(name, weights, make, (str(published), lambda: torchvision_weights(published)))
    return MViT(info(name), model, called)


class MViT(VideoEncoder):
    """The tokens after the final norm, (B, 1 + T/2 * H/32 * W/32, D): class token, then time, height, width."""

    def _forward(self, batch: torch.Tensor) -> torch.Tensor:
        return capture_output(self.model, "norm", normalised(batch, _MEAN, _STD))
