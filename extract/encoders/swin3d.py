"""Video Swin Transformers (Liu et al., CVPR 2022) from torchvision, pre-trained on Kinetics-400."""

import torch
from torch import nn
from torchvision.models import video as tv

from mmcache.extract.encoders.base.downloads import torchvision_weights
from mmcache.extract.encoders.base.encoder import Encoder, EncoderInfo, capture_output, check_known
from mmcache.extract.encoders.base.weights import build_model
from mmcache.extract.encoders.inputs.video_frames import VideoEncoder, normalised
from mmcache.extract.media.base.requests import VideoRequest

# name -> (torchvision constructor, its weights)
_PUBLISHED = {
    "swin3d_t": (tv.swin3d_t, tv.Swin3D_T_Weights.KINETICS400_V1),
    "swin3d_s": (tv.swin3d_s, tv.Swin3D_S_Weights.KINETICS400_V1),
    "swin3d_b": (tv.swin3d_b, tv.Swin3D_B_Weights.KINETICS400_V1),
}
_WIDTHS = {"swin3d_t": 768, "swin3d_s": 768, "swin3d_b": 1024, "swin3d_demo": 128}
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# (frames, scaled short side, crop) in pixels
_FULL_INPUT, _DEMO_INPUT = (32, 256, 224), (16, 64, 64)


def _demo() -> nn.Module:
    """The same architecture at a size for the demo and the tests; there are no published weights."""
    return tv.SwinTransformer3d(
        patch_size=[2, 4, 4], embed_dim=16, depths=[1, 1, 2, 1], num_heads=[1, 2, 4, 8], window_size=[4, 4, 4]
    )


def info(name: str) -> EncoderInfo:
    check_known(name, _WIDTHS, "swin3d")
    frames, short_side, crop = _DEMO_INPUT if name == "swin3d_demo" else _FULL_INPUT
    return EncoderInfo(
        name=name,
        tokens=(frames // 2) * (crop // 32) ** 2,  # patches of 2 x 4 x 4, merged three times in space
        width=_WIDTHS[name],
        request=VideoRequest(frames=frames, short_side=short_side),
        preprocessing={"crop": crop, "mean": list(_MEAN), "std": list(_STD)},
        code_version=1,
    )


def network(name: str, weights: str) -> tuple[nn.Module, str]:
    """The whole network and what its weights are called, as base.build_model returns them."""
    if name == "swin3d_demo":
        return build_model(name, weights, _demo, None)
    make, published = _PUBLISHED[name]
    download = (str(published), lambda: torchvision_weights(published))
    return build_model(name, weights, make, download)


def build(name: str, weights: str) -> Encoder:
    model, called = network(name, weights)
    return Swin3D(info(name), model, called)


class Swin3D(VideoEncoder):
    """The tokens after the final norm, (B, T/2 * H/32 * W/32, D), in time, height, width order."""

    def _forward(self, batch: torch.Tensor) -> torch.Tensor:
        images = normalised(batch, _MEAN, _STD)  # (B, 3, T, H, W)
        tokens = capture_output(self.model, "norm", images)  # (B, T', H', W', D)
        return tokens.flatten(1, 3)
