"""Every line of the table of encoders: what is said before loading is what comes out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mmcache.extract.datasets import DATASETS
from mmcache.extract.encoders import (
    DEFAULT_ENCODERS,
    ENCODERS,
    OPEN_FAMILIES,
    build_encoder,
    encoder_info,
    encoders_for,
    entry_of,
)
from mmcache.extract.media.base.requests import MediaRequest
from mmcache.extract.planning.extract_config import ExtractConfig
from mmcache.store.format.layout import check_name
from mmcache.store.ground.errors import ConfigError

Reader = Callable[[MediaRequest], NDArray[Any]]
SLOW = {
    "swin3d_t",
    "swin3d_b",
    "swin3d_s",
    "swin3d_b_audio",
    "swin3d_s_audio",
    "swin3d_t_audio",
    "mvit_v1_b",
    "mvit_v2_s",
    "ast_b",
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in ENCODERS])
def test_what_is_said_of_the_tokens_is_what_comes_out(name: str, media_for: Reader) -> None:
    info = encoder_info(name)
    encoder = build_encoder(name, "random")
    assert encoder.info == info
    tokens = encoder.encode(encoder.preprocess(media_for(info.request))[None])
    assert tokens.shape == (1, info.tokens, info.width)
    assert tokens.dtype == np.float32
    assert np.isfinite(tokens).all()
    assert np.abs(tokens).max() < 1000  # far from where float16 ends
    assert tokens.std(axis=1).mean() > 0.01  # tokens differ from one another


@pytest.mark.parametrize("name", [name for name in ENCODERS if name not in SLOW])
def test_every_part_of_an_encoder_is_frozen_and_evaluating(name: str) -> None:
    encoder = build_encoder(name, "random")
    assert not any(module.training for module in encoder.model.modules())
    assert not any(parameter.requires_grad for parameter in encoder.model.parameters())


@pytest.mark.parametrize("name", ["swin3d_demo", "ast_demo", "imu_demo", "imu_transformer", "joints", "timm:resnet10t"])
def test_a_batch_gives_what_its_segments_give_one_by_one(name: str, media_for: Reader) -> None:
    encoder = build_encoder(name, "random")
    media = media_for(encoder.info.request)
    batch = torch.stack([encoder.preprocess(np.roll(media, 3 * i, axis=0)) for i in range(5)])
    alone = np.concatenate([encoder.encode(batch[i : i + 1]) for i in range(5)])
    np.testing.assert_allclose(encoder.encode(batch), alone, atol=1e-3)
    np.testing.assert_array_equal(encoder.encode(batch), encoder.encode(batch))


def test_names_can_be_folders_and_defaults_fit_their_modality() -> None:
    for name, entry in ENCODERS.items():
        assert check_name("encoder", name) == name
        assert entry.modalities
    for modality, name in DEFAULT_ENCODERS.items():
        assert modality in entry_of(name).modalities
    for dataset, (reader, _) in DATASETS.items():
        for modality in reader.modalities:  # type: ignore[attr-defined]
            assert modality in entry_of(ExtractConfig(dataset).encoder_of(modality)).modalities


def test_an_unknown_encoder_is_named_with_the_nearest_one() -> None:
    for call in (encoder_info, lambda name: build_encoder(name, "random")):
        with pytest.raises(ConfigError, match=r"unknown encoder 'swin3d_tt'\. Did you mean 'swin3d_t'\?"):
            call("swin3d_tt")


def test_an_unknown_prefix_is_an_unknown_encoder_and_open_families_are_known() -> None:
    for name in ("tim:resnet34", "swin3d_t:x", ":", "timm"):
        with pytest.raises(ConfigError, match=f"unknown encoder '{name}'") as caught:
            entry_of(name)
        assert "timm:" in str(caught.value)
        assert "hf:" in str(caught.value)


def test_what_is_offered_for_a_modality() -> None:
    assert encoders_for("depth") == ["timm:MODEL", "hf:MODEL"]
    assert encoders_for("skeleton") == ["joints"]
    assert {"ast_b", "swin3d_b_audio", "hf:MODEL"} <= set(encoders_for("audio"))
    assert "timm:MODEL" not in encoders_for("audio")
    assert not set(OPEN_FAMILIES) & set(ENCODERS)


def test_every_mistake_with_encoders_is_reported_at_once(tmp_path: Path) -> None:
    wrong = {"rgb": "timm:resnet35", "audio": "timm:resnet34", "flow": f"hf:{tmp_path}", "imu": "imu_transformr"}
    with pytest.raises(ConfigError) as caught:
        ExtractConfig("epic", encoder=wrong).check()
    said = str(caught.value)
    assert "4 things to put right" in said
    assert "timm has no model 'resnet35'" in said
    assert "encoder timm:resnet34 takes rgb, depth, ir, flow, not audio" in said
    assert "is no folder with a config.json" in said
    assert "Did you mean 'imu_transformer'?" in said
    ExtractConfig("epic", encoder={"rgb": "timm:resnet34", "audio": "swin3d_b_audio"}).check()
