"""Video Swin on audio: windows of the spectrogram in time order, and torchvision's own network on them."""

import warnings

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional
from torchvision.models import video as tv
from transformers import ASTFeatureExtractor

from mmcache.extract.encoders import build_encoder, encoder_info
from mmcache.extract.encoders.base.encoder import Encoder
from mmcache.extract.encoders.base.weights import state_sha256
from mmcache.extract.encoders.swin3d_audio import Swin3DAudio


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    """Its preprocessing is all that most tests need."""
    return Swin3DAudio(encoder_info("swin3d_t_audio"), torch.nn.Identity(), "none")


def noise(seconds: float, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * 16000)).astype(np.float32)


def tone(hertz: float, seconds: float) -> NDArray[np.float32]:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * 16000)) / 16000)).astype(np.float32)


def spectrogram(sound: NDArray[np.float32]) -> NDArray[np.float32]:
    """(frames, 128) from transformers' own filter bank, normalised to AudioSet's mean 0 and deviation 1."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        extractor = ASTFeatureExtractor()
    frames = 1 + (len(sound) - 400) // 160
    return 2 * extractor(sound, sampling_rate=16000, return_tensors="np")["input_values"][0][:frames]


@pytest.mark.parametrize("seconds", [1.3, 2.0, 10.24])
def test_windows_are_spread_evenly_from_the_first_to_the_last_of_the_sound(encoder: Encoder, seconds: float) -> None:
    windows = encoder.preprocess(noise(seconds))
    assert (windows.shape, windows.dtype) == ((32, 128, 128), torch.float32)
    expected = spectrogram(noise(seconds))
    for number, window in enumerate(windows.flip(1).transpose(1, 2).numpy()):  # (frames, bins)
        start = round(number * (len(expected) - 128) / 31)
        np.testing.assert_allclose(window, expected[start : start + 128], atol=1e-4)


def test_low_pitches_are_at_the_bottom_and_time_runs_to_the_right(encoder: Encoder) -> None:
    low, high = (encoder.preprocess(tone(hertz, 1.5))[16].mean(dim=1) for hertz in (200, 6000))
    assert low.argmax() > 90
    assert high.argmax() < 30
    late = np.concatenate([np.zeros(12000, np.float32), noise(0.55)])  # silence, then noise
    loudness = encoder.preprocess(late)[0].mean(dim=0)
    assert loudness[90:].min() > loudness[:70].max()


@pytest.mark.parametrize("samples", [1, 399, 400, 5000, 20479, 20480])
def test_a_sound_shorter_than_a_window_is_followed_by_silence(encoder: Encoder, samples: int) -> None:
    sound = noise(1.28)[:samples]
    windows = encoder.preprocess(sound)
    assert windows.shape == (32, 128, 128)
    assert (windows == windows[:1]).all()
    frames = 1 + (max(400, samples) - 400) // 160
    silence = encoder.preprocess(np.zeros(32000, np.float32))
    torch.testing.assert_close(windows[0][:, frames:], silence[0][:, frames:])
    assert (windows[0][:, 0] != silence[0][:, 0]).any() or samples < 2  # direct current alone is removed


@pytest.mark.parametrize("name", ["swin3d_t_audio", "swin3d_s_audio", "swin3d_b_audio"])
def test_it_says_of_its_tokens_what_the_network_for_pictures_says(name: str) -> None:
    info, pictures = encoder_info(name), encoder_info(name.removesuffix("_audio"))
    assert info.name == name
    assert (info.tokens, info.width) == (pictures.tokens, pictures.width)


@pytest.mark.slow
def test_tokens_are_those_of_torchvision_with_the_same_seeded_weights() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = tv.swin3d_t().eval()
    built = build_encoder("swin3d_t_audio", "random:5")
    assert built.fingerprint(None).weights_sha256 == state_sha256(model.state_dict())
    assert (
        built.fingerprint(None).weights_sha256 == build_encoder("swin3d_t", "random:5").fingerprint(None).weights_sha256
    )
    batch = built.preprocess(noise(3.0))[None]
    with torch.inference_mode():
        grey = functional.interpolate(batch, size=(224, 224), mode="bilinear", align_corners=False)
        tokens = model.patch_embed(torch.stack([grey, grey, grey], dim=1))
        for stage in model.features:
            tokens = stage(tokens)
        tokens = model.norm(tokens).reshape(1, 784, 768)
    np.testing.assert_allclose(built.encode(batch), tokens.numpy(), rtol=1e-4, atol=1e-4)
