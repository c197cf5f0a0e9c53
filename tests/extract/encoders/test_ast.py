"""AST: the tokens are those of transformers' own model, fed what its own feature extractor makes."""

import warnings

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import ASTConfig, ASTFeatureExtractor, ASTModel

from mmcache.extract.encoders import build_encoder, encoder_info
from mmcache.extract.encoders.base.views import View


def sound(seconds: float, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * 16000)).astype(np.float32)


def published_extractor() -> ASTFeatureExtractor:
    """With transformers' defaults: those of the AudioSet checkpoint."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ASTFeatureExtractor()


@pytest.mark.parametrize("seconds", [1.5, 10.24])
def test_tokens_are_those_of_transformers_with_the_same_weights(seconds: float) -> None:
    encoder = build_encoder("ast_t", "random:4")
    config = ASTConfig(hidden_size=192, num_attention_heads=3, intermediate_size=768)
    model = ASTModel(config).eval()
    model.load_state_dict(encoder.model.state_dict())
    ready = published_extractor()(sound(seconds), sampling_rate=16000, return_tensors="pt")["input_values"]
    with torch.inference_mode():
        tokens = model(ready).last_hidden_state
    assert tokens.shape == (1, 1214, 192)
    encoded = encoder.encode(encoder.preprocess(sound(seconds))[None])
    np.testing.assert_allclose(encoded, tokens.numpy(), rtol=1e-3, atol=1e-4)


def test_ast_b_is_the_published_architecture() -> None:
    info, config = encoder_info("ast_b"), ASTConfig()
    assert info.width == config.hidden_size
    assert info.preprocessing["frames"] == config.max_length
    assert info.preprocessing["mel_bins"] == config.num_mel_bins
    published = published_extractor()
    assert (info.preprocessing["mean"], info.preprocessing["std"]) == (published.mean, published.std)
    encoder = build_encoder("ast_b", "random")
    expected = {name: tuple(value.shape) for name, value in ASTModel(config).state_dict().items()}
    assert {name: tuple(value.shape) for name, value in encoder.model.state_dict().items()} == expected


def test_a_longer_sound_than_the_network_takes_is_cut_and_a_shorter_one_padded() -> None:
    encoder = build_encoder("ast_demo", "random")  # 1.28 s
    long, short = encoder.preprocess(sound(3.0)), encoder.preprocess(sound(0.5))
    assert long.shape == short.shape == (128, 128)
    torch.testing.assert_close(long[:40], encoder.preprocess(sound(3.0)[:16000])[:40])
    assert (short[60:] == short[-1]).all()  # padding
    assert not (short[:40] == short[-1]).any(dim=1).all()


@pytest.mark.parametrize("samples", [1, 160, 399, 400, 401])
def test_a_sound_shorter_than_a_window_is_padded_with_silence(samples: int) -> None:
    """The first 25 ms make one frame of the spectrogram; a segment may be shorter than that."""
    encoder = build_encoder("ast_demo", "random")
    short = sound(0.1)[:samples]
    spectrogram = encoder.preprocess(short)
    assert spectrogram.shape == (128, 128)
    assert torch.isfinite(spectrogram).all()
    padded = np.concatenate([short, np.zeros(max(0, 400 - samples), np.float32)])
    torch.testing.assert_close(spectrogram, encoder.preprocess(padded))


@pytest.mark.parametrize("name", ["ast_t", "ast_demo"])
def test_random_weights_tell_places_apart(name: str) -> None:
    """The same audio everywhere must still give tokens of different places different values."""
    encoder = build_encoder(name, "random")
    frames = encoder.info.preprocessing["frames"]
    tokens = encoder.encode(torch.zeros(1, frames, 128))[0, 2:]
    assert len(np.unique(tokens[:, :4].round(6), axis=0)) > len(tokens) // 2


@pytest.mark.parametrize(("name", "millions"), [("ast_t", 5.6), ("ast_s", 22.0), ("ast_b", 86.2)])
def test_it_has_the_size_of_its_deit(name: str, millions: float) -> None:
    count = sum(parameter.numel() for parameter in build_encoder(name, "random").model.parameters())
    assert count == pytest.approx(millions * 1e6, rel=0.03)


def test_a_view_masks_the_sound_and_not_the_padding() -> None:
    encoder = build_encoder("ast_t", "random")
    centre = encoder.preprocess(sound(2.0))
    heard = 1 + (32000 - 400) // 160
    changed = [encoder.preprocess(sound(2.0), View.drawn(seed)) != centre for seed in range(20)]
    assert not any(part[heard:].any() for part in changed)
    assert all(part[:heard].any() for part in changed)
    assert max(int(part.any(dim=0).all()) for part in changed)  # some have a stretch masked
