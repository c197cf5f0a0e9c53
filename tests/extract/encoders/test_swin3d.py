"""Video Swin: the tokens are those of torchvision's own network, fed what torchvision's own transform makes."""

import numpy as np
import pytest
import torch
from torchvision.models import video as tv

from mmcache.extract.encoders import build_encoder, encoder_info
from mmcache.extract.encoders.base.weights import state_sha256
from mmcache.extract.encoders.inputs.video_frames import normalised


def pictures(frames: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def own_tokens(model: tv.SwinTransformer3d, clip: torch.Tensor) -> torch.Tensor:
    """(B, 3, T, H, W) through the network's stages by hand, up to the final norm -> (B, T', H', W', D)."""
    with torch.inference_mode():
        tokens = model.pos_drop(model.patch_embed(clip))
        for stage in model.features:
            tokens = stage(tokens)
        return model.norm(tokens)


def test_tokens_are_those_of_torchvision_with_the_same_seeded_weights() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = tv.swin3d_t().eval()
    encoder = build_encoder("swin3d_t", "random:5")
    assert encoder.fingerprint(None).weights_sha256 == state_sha256(model.state_dict())
    batch = encoder.preprocess(pictures(32, 256, 300))[None]
    transform = tv.Swin3D_T_Weights.KINETICS400_V1.transforms()
    clip = normalised(batch, tuple(transform.mean), tuple(transform.std))
    tokens = own_tokens(model, clip)
    assert tokens.shape == (1, 16, 7, 7, 768)
    encoded = encoder.encode(batch)
    assert encoded.dtype == np.float32
    np.testing.assert_allclose(encoded.reshape(tokens.shape), tokens.numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(256, 340), (300, 256), (256, 256)])
def test_preprocessing_is_that_of_the_published_weights(size: tuple[int, int]) -> None:
    """Our readers already scale the short side to 256, where torchvision's transform would."""
    media = pictures(4, *size)
    published = tv.Swin3D_B_Weights.KINETICS400_V1.transforms()
    assert (published.resize_size, published.crop_size) == ([256], [224, 224])
    expected = published(torch.from_numpy(media).permute(0, 3, 1, 2))  # (3, T, 224, 224)
    encoder = build_encoder("swin3d_demo", "random")
    encoder.info.preprocessing["crop"] = 224
    ready = normalised(encoder.preprocess(media)[None], tuple(published.mean), tuple(published.std))[0]
    torch.testing.assert_close(ready, expected, rtol=1e-5, atol=1e-5)
    ours = encoder_info("swin3d_b")
    assert ours.preprocessing == {"crop": 224, "mean": list(published.mean), "std": list(published.std)}
    assert (ours.request.frames, ours.request.short_side) == (32, 256)  # type: ignore[union-attr]


def test_tokens_are_in_the_order_of_time_height_width() -> None:
    """With the frames changed at one time and place, the token that changes most is the one of that place."""
    encoder = build_encoder("swin3d_demo", "random:1")
    media = pictures(16, 64, 64)
    changed = media.copy()
    changed[6:8, 32:64, 0:32] = 255 - changed[6:8, 32:64, 0:32]  # token (3, 1, 0) of (8, 2, 2)
    before, after = encoder.encode(torch.stack([encoder.preprocess(media), encoder.preprocess(changed)]))
    change = np.abs(after - before).sum(axis=1).reshape(8, 2, 2)
    assert np.unravel_index(change.argmax(), change.shape) == (3, 1, 0)
