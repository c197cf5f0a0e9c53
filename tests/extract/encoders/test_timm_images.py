"""Image networks of timm: their features are timm's own, pooled; what they are is known without loading them."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from torch.nn import functional

from mmcache.extract.encoders import build_encoder, encoder_info, entry_of
from mmcache.extract.encoders.base.weights import WeightsError, state_sha256
from mmcache.extract.media.base.requests import VideoRequest
from mmcache.store.format.layout import check_name
from mmcache.store.ground.errors import ConfigError

# A map of channels first, one of channels last, patch tokens with a class token, tokens without, an odd grid.
MODELS = [
    "resnet10t",
    pytest.param("swin_tiny_patch4_window7_224", marks=pytest.mark.slow),
    "vit_tiny_patch16_224",
    "mixer_s32_224",
    "deit_tiny_distilled_patch16_224",
]


def film(name: str, width: int = 300) -> NDArray[np.uint8]:
    request = encoder_info(name).request
    assert isinstance(request, VideoRequest)
    return np.random.default_rng(1).integers(0, 256, (request.frames, request.short_side, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("model_name", MODELS)
def test_tokens_are_timms_features_of_timms_own_transform(model_name: str) -> None:
    name = f"timm:{model_name}"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(6)
        model = timm.create_model(model_name).eval()
    encoder, media = build_encoder(name, "random:6"), film(name)
    assert encoder.fingerprint(None).weights_sha256 == state_sha256(model.state_dict())
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    pictures = torch.stack([transform(Image.fromarray(picture)) for picture in media[:2]])
    with torch.inference_mode():
        features = model.forward_features(pictures)
    if model_name.startswith("resnet"):
        maps = features
    elif model_name.startswith("swin"):
        maps = features.permute(0, 3, 1, 2)
    else:
        places = features[:, getattr(model, "num_prefix_tokens", 0) :]
        side = round(places.shape[1] ** 0.5)
        maps = places.reshape(2, side, side, -1).permute(0, 3, 1, 2)
    expected = functional.adaptive_avg_pool2d(maps, (4, 4)).permute(0, 2, 3, 1).reshape(32, -1)
    tokens = encoder.encode(encoder.preprocess(media)[None])[0]
    assert tokens.shape == (128, encoder.info.width)
    np.testing.assert_allclose(tokens[:32], expected.numpy(), rtol=1e-3, atol=1e-3)


def test_tokens_are_in_the_order_of_time_height_width() -> None:
    encoder = build_encoder("timm:resnet10t", "random")
    media = film("timm:resnet10t", width=encoder.info.request.short_side)  # type: ignore[attr-defined]
    changed, side = media.copy(), media.shape[1]
    changed[5, 3 * side // 4 :, : side // 4] = 255 - changed[5, 3 * side // 4 :, : side // 4]
    before, after = encoder.encode(torch.stack([encoder.preprocess(media), encoder.preprocess(changed)]))
    change = np.abs(after - before).sum(axis=1).reshape(8, 4, 4)
    assert np.unravel_index(change.argmax(), change.shape) == (5, 3, 0)
    assert (change[[0, 1, 2, 3, 4, 6, 7]] < 1e-4).all()  # an image knows nothing of the others


def test_eight_tokens_are_one_a_picture() -> None:
    """k-Average over runs of 16 tokens is the mean over an image's places."""
    encoder = build_encoder("timm:resnet10t", "random")
    tokens = encoder.encode(encoder.preprocess(film("timm:resnet10t"))[None])[0]
    assert tokens.reshape(8, 16, -1).mean(axis=1).std(axis=0).mean() > 0
    assert encoder.info.cap(8) == 8


@pytest.mark.parametrize(
    ("model_name", "tokens", "width", "short_side", "crop"),
    [
        ("resnet34", 128, 512, 235, 224),
        ("resnet34.tv_in1k", 128, 512, 256, 224),
        ("swin_base_patch4_window7_224", 128, 1024, 248, 224),
        ("mvitv2_base", 128, 768, 248, 224),
        ("vit_base_patch14_dinov2", 128, 768, 518, 518),
        ("pit_ti_224", 8, 256, 248, 224),  # one token an image is all it has
    ],
)
def test_what_is_said_before_loading(model_name: str, tokens: int, width: int, short_side: int, crop: int) -> None:
    info = encoder_info(f"timm:{model_name}")
    assert (info.tokens, info.width) == (tokens, width)
    assert info.request == VideoRequest(frames=8, short_side=short_side)
    assert info.preprocessing["crop"] == crop
    assert info.name == f"timm.{model_name}"
    assert check_name("encoder", info.name) == info.name
    entry = entry_of(f"timm:{model_name}")
    assert entry.modalities == ("rgb", "depth", "ir", "flow")
    assert entry.published == timm.models.get_pretrained_cfg(model_name).tag


def test_looking_leaves_the_global_random_state_alone() -> None:
    state = torch.get_rng_state()
    encoder_info("timm:resnet26d")
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("model_name", "says"),
    [
        ("resnet35", r"timm has no model 'resnet35'\. Did you mean .*resnet34"),
        ("", "timm has no model ''"),
        ("hf-hub:someone/something", "timm has no model 'hf-hub:someone/something'"),
        ("../resnet34", "timm has no model"),
        ("resnet34.tv_in2k", r"no weights with the tag 'tv_in2k'; it has .*tv_in1k"),
        ("crossvit_9_240", "gives features of the shape list; needed are"),
        ("volo_d1_224", r"gives features of the shape \(1, 197, 384\); needed are"),
        ("vit_base_patch16_sapiens2", "takes images of 3 x 1024 x 768; only square ones"),
    ],
)
def test_a_model_that_cannot_be_used_says_why(model_name: str, says: str) -> None:
    for call in (entry_of, encoder_info, lambda name: build_encoder(name, "random")):
        with pytest.raises(ConfigError, match=says):
            call(f"timm:{model_name}")


def test_without_published_weights_pretrained_means_the_first_seed() -> None:
    model_name = next(name for name in timm.list_models("resnet*") if not timm.list_pretrained(f"{name}*"))
    assert entry_of(f"timm:{model_name}").published is None
    assert build_encoder(f"timm:{model_name}", "pretrained").weights == "random:0"


def test_published_weights_without_a_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match=r"published weights of timm\.resnet10t .*could not be downloaded") as caught:
        build_encoder("timm:resnet10t", "pretrained")
    assert "--weights random" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_from_a_folder_are_found_by_the_name_of_the_cache(tmp_path: Path) -> None:
    saved = build_encoder("timm:resnet10t", "random:8")
    save_file(saved.model.state_dict(), tmp_path / "timm.resnet10t.safetensors")
    loaded = build_encoder("timm:resnet10t", str(tmp_path))
    assert loaded.weights == "file:timm.resnet10t.safetensors"
    assert loaded.fingerprint(None).weights_sha256 == saved.fingerprint(None).weights_sha256
    with pytest.raises(WeightsError, match=r"no timm\.resnet14t\.safetensors, .* in the folder"):
        build_encoder("timm:resnet14t", str(tmp_path))
