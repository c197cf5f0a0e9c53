"""MViT: the tokens are those of torchvision's own network, class token first."""

import numpy as np
import pytest
import torch
from torchvision.models import video as tv

from mmcache.extract.encoders import build_encoder, encoder_info
from mmcache.extract.encoders.base.weights import state_sha256
from mmcache.extract.media.base.requests import VideoRequest

WEIGHTS = {"mvit_v1_b": tv.MViT_V1_B_Weights.KINETICS400_V1, "mvit_v2_s": tv.MViT_V2_S_Weights.KINETICS400_V1}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mvit_v1_b", "mvit_v2_s"])
def test_tokens_are_those_of_torchvision_with_the_same_seeded_weights(name: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        model = getattr(tv, name)().eval()
    encoder = build_encoder(name, "random:2")
    assert encoder.fingerprint(None).weights_sha256 == state_sha256(model.state_dict())
    media = np.random.default_rng(0).integers(0, 256, (16, 256, 280, 3), dtype=np.uint8)
    clip = WEIGHTS[name].transforms()(torch.from_numpy(media).permute(0, 3, 1, 2))
    with torch.inference_mode():
        tokens = model.conv_proj(clip[None]).flatten(2).transpose(1, 2)
        tokens = model.pos_encoding(tokens)
        size = (model.pos_encoding.temporal_size, *model.pos_encoding.spatial_size)
        for block in model.blocks:
            tokens, size = block(tokens, size)
        tokens = model.norm(tokens)
        assert tokens.shape == (1, 393, 768)
        # What torchvision classifies is the first of them.
        torch.testing.assert_close(model.head(tokens[:, 0]), model(clip[None]))
    encoded = encoder.encode(encoder.preprocess(media)[None])
    np.testing.assert_allclose(encoded, tokens.numpy(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", WEIGHTS)
def test_preprocessing_is_that_of_the_published_weights(name: str) -> None:
    published, info = WEIGHTS[name].transforms(), encoder_info(name)
    assert (published.resize_size, published.crop_size) == ([256], [224, 224])
    assert info.request == VideoRequest(frames=16, short_side=256)
    assert info.preprocessing == {"crop": 224, "mean": list(published.mean), "std": list(published.std)}
