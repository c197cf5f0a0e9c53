"""Models of transformers, saved by the library itself: their tokens are those of the library called directly."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from numpy.typing import NDArray

from mmcache.extract.encoders import build_encoder, encoder_info, entry_of
from mmcache.extract.encoders.base.views import View
from mmcache.extract.encoders.base.weights import state_sha256
from mmcache.extract.media.base.requests import AudioRequest, MediaRequest, VideoRequest
from mmcache.store.format.fingerprint import Fingerprint
from mmcache.store.format.layout import check_name

Reader = Callable[[MediaRequest], NDArray[Any]]
TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
FILM = {"image_size": 32, "num_frames": 4, **TINY}
WAVE = {"conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2, **TINY}
CROP = {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}}
# name -> its configuration and its processor
VIDEO: dict[str, tuple[Any, Any]] = {
    "videomae": (hf.VideoMAEConfig(**FILM), lambda: hf.VideoMAEImageProcessor(**CROP)),
    "timesformer": (hf.TimesformerConfig(**FILM), lambda: hf.VideoMAEImageProcessor(**CROP, image_mean=[0.45] * 3)),
    "vivit": (hf.VivitConfig(**FILM), lambda: hf.VivitImageProcessor(**CROP)),
}
LAYER = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
SOUND: dict[str, tuple[Any, Any]] = {
    "wav2vec2": (hf.Wav2Vec2Config(**WAVE), lambda: hf.Wav2Vec2FeatureExtractor()),
    "wav2vec2_lv": (
        hf.Wav2Vec2Config(**WAVE, **LAYER),
        lambda: hf.Wav2Vec2FeatureExtractor(return_attention_mask=True),
    ),
    "hubert": (hf.HubertConfig(**WAVE), lambda: hf.Wav2Vec2FeatureExtractor(do_normalize=False)),
    "wavlm": (hf.WavLMConfig(**WAVE), lambda: hf.Wav2Vec2FeatureExtractor()),
    "ast": (hf.ASTConfig(max_length=128, **TINY), lambda: ast_extractor(max_length=128)),
}
TOKENS = {
    "videomae": 8,
    "timesformer": 17,
    "vivit": 9,
    "wav2vec2": 499,
    "wav2vec2_lv": 499,
    "hubert": 499,
    "wavlm": 499,
    "ast": 146,
}


def ast_extractor(**options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return hf.ASTFeatureExtractor(**options)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every model with its weights and its processor, as save_pretrained writes them."""
    root, out = tmp_path_factory.mktemp("models"), {}
    for name, (config, processor) in {**VIDEO, **SOUND}.items():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(len(out))
            hf.AutoModel.from_config(config).save_pretrained(root / name)
        processor().save_pretrained(root / name)
        out[name] = root / name
    return out


def noise(seconds: float) -> NDArray[np.float32]:
    return (0.05 + np.random.default_rng(0).normal(0, 0.1, round(seconds * 16000))).astype(np.float32)


@pytest.mark.parametrize("name", VIDEO)
def test_tokens_of_video_are_those_of_the_library(name: str, folders: dict[str, Path], media_for: Reader) -> None:
    encoder = build_encoder(f"hf:{folders[name]}", "pretrained")
    assert encoder.info.request == VideoRequest(frames=4, short_side=40)
    media = media_for(encoder.info.request)
    model = hf.AutoModel.from_pretrained(folders[name]).eval()
    ready = VIDEO[name][1]()(list(media), return_tensors="pt")
    assert ready["pixel_values"].shape == (1, 4, 3, 32, 32)
    with torch.inference_mode():
        tokens = model(**ready).last_hidden_state
    assert tokens.shape == (1, TOKENS[name], 32)
    np.testing.assert_allclose(encoder.encode(encoder.preprocess(media)[None]), tokens, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in SOUND if name != "ast"])
@pytest.mark.parametrize("seconds", [0.05, 2.5, 10.0, 12.0])
def test_tokens_of_sound_are_those_of_the_library(name: str, seconds: float, folders: dict[str, Path]) -> None:
    """The library pads a batch to its longest; here the longest is ten seconds."""
    encoder = build_encoder(f"hf:{folders[name]}", "pretrained")
    assert encoder.info.request == AudioRequest(rate=16000, max_seconds=10.0)
    model, extractor = hf.AutoModel.from_pretrained(folders[name]).eval(), SOUND[name][1]()
    alone = extractor(noise(seconds)[:160000], sampling_rate=16000, return_tensors="pt")["input_values"]
    ready = {"input_values": torch.nn.functional.pad(alone, (0, 160000 - alone.shape[1]))}
    if extractor.return_attention_mask:
        ready["attention_mask"] = (torch.arange(160000) < max(alone.shape[1], 1600))[None].long()
    with torch.inference_mode():
        tokens = model(**ready).last_hidden_state
    assert tokens.shape == (1, TOKENS[name], 32)
    encoded = encoder.encode(encoder.preprocess(noise(seconds))[None])
    np.testing.assert_allclose(encoded, tokens, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seconds", [0.01, 0.5, 1.28])
def test_tokens_of_a_spectrogram_are_those_of_the_library(seconds: float, folders: dict[str, Path]) -> None:
    encoder = build_encoder(f"hf:{folders['ast']}", "pretrained")
    assert encoder.info.request == AudioRequest(rate=16000, max_seconds=1.28)
    model = hf.AutoModel.from_pretrained(folders["ast"]).eval()
    sound = np.pad(noise(seconds), (0, max(0, 400 - round(seconds * 16000))))
    ready = ast_extractor(max_length=128)(sound, sampling_rate=16000, return_tensors="pt")
    with torch.inference_mode():
        tokens = model(**ready).last_hidden_state
    assert tokens.shape == (1, TOKENS["ast"], 32)
    np.testing.assert_allclose(encoder.encode(encoder.preprocess(noise(seconds))[None]), tokens, rtol=1e-4, atol=1e-5)


def test_a_mask_keeps_padding_out(folders: dict[str, Path]) -> None:
    """With a mask, what stands in the padding changes nothing where there is sound."""
    encoder = build_encoder(f"hf:{folders['wav2vec2_lv']}", "pretrained")
    batch = encoder.preprocess(noise(2.0))[None]
    assert batch.shape == (1, 2, 160000)
    assert batch[0, 1].sum() == 32000
    loud = batch.clone()
    loud[0, 0, 40000:] = 3.0
    np.testing.assert_allclose(encoder.encode(batch)[0, :90], encoder.encode(loud)[0, :90], atol=1e-4)


@pytest.mark.parametrize("name", [*VIDEO, *SOUND])
def test_what_is_said_before_loading(name: str, folders: dict[str, Path]) -> None:
    asked = f"hf:{folders[name]}"
    info, entry = encoder_info(asked), entry_of(asked)
    assert (info.tokens, info.width) == (TOKENS[name], 32)
    assert info.name == f"hf.{name}"
    assert check_name("encoder", info.name) == info.name
    assert entry.modalities == (("rgb", "flow", "depth", "ir") if name in VIDEO else ("audio",))
    assert entry.published == name
    encoder = build_encoder(asked, "pretrained")
    assert encoder.info == info
    assert not any(module.training for module in encoder.model.modules())
    assert not any(parameter.requires_grad for parameter in encoder.model.parameters())


@pytest.mark.parametrize("name", [*VIDEO, *SOUND])
def test_views_of_it(name: str, folders: dict[str, Path], media_for: Reader) -> None:
    encoder = build_encoder(f"hf:{folders[name]}", "pretrained")
    media, modality = media_for(encoder.info.request), "rgb" if name in VIDEO else "audio"
    kept = media.copy()
    centre = encoder.preprocess(media)
    first, second, again = (encoder.preprocess(media, View.drawn(seed), modality) for seed in (1, 2, 1))
    assert first.shape == second.shape == centre.shape
    assert first.dtype == centre.dtype == torch.float32
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert not torch.equal(first, centre)
    np.testing.assert_array_equal(media, kept)


def test_random_weights_need_no_weights_and_are_seeded(folders: dict[str, Path], tmp_path: Path) -> None:
    for file in ("config.json", "preprocessor_config.json"):
        (tmp_path / file).write_bytes((folders["videomae"] / file).read_bytes())
    state = torch.get_rng_state()
    first, second = (build_encoder(f"hf:{tmp_path}", weights) for weights in ("random:3", "random:4"))
    assert torch.equal(torch.get_rng_state(), state)
    assert first.fingerprint(None) == build_encoder(f"hf:{tmp_path}", "random:3").fingerprint(None)
    assert first.fingerprint(None).weights_sha256 != second.fingerprint(None).weights_sha256


def test_the_fingerprint_does_not_say_where_the_folder_is_and_survives_being_stored(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    elsewhere = tmp_path / "videomae"
    elsewhere.mkdir()
    for file in folders["videomae"].iterdir():
        (elsewhere / file.name).write_bytes(file.read_bytes())
    ours, theirs = (
        build_encoder(f"hf:{folder}", "pretrained").fingerprint(None) for folder in (folders["videomae"], elsewhere)
    )
    assert ours == theirs
    assert str(tmp_path) not in str(theirs)
    stored = json.loads(json.dumps(ours.to_attributes()))
    Fingerprint.from_attributes(stored).check_same(theirs, elsewhere)


def test_a_checkpoint_with_a_head_gives_its_encoder(tmp_path: Path) -> None:
    """Published models often are classifiers: what is theirs alone is left out, the encoder's weights are found."""
    config, processor = VIDEO["videomae"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        classifier = hf.VideoMAEForVideoClassification(config)
    classifier.save_pretrained(tmp_path)
    processor().save_pretrained(tmp_path)
    encoder = build_encoder(f"hf:{tmp_path}", "pretrained")
    expected = {
        key: value for key, value in classifier.videomae.state_dict().items() if key in encoder.model.state_dict()
    }
    assert len(expected) > 20
    for key, value in expected.items():
        assert torch.equal(encoder.model.state_dict()[key], value)


def test_half_precision_weights_are_used_in_full(folders: dict[str, Path], tmp_path: Path) -> None:
    hf.AutoModel.from_pretrained(folders["vivit"]).half().save_pretrained(tmp_path)
    VIDEO["vivit"][1]().save_pretrained(tmp_path)
    encoder = build_encoder(f"hf:{tmp_path}", "pretrained")
    assert {parameter.dtype for parameter in encoder.model.parameters()} == {torch.float32}
    assert encoder.fingerprint(None).weights_sha256 == state_sha256(encoder.model.state_dict())
