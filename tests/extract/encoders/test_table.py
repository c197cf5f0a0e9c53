"""Every line of the table of encoders: what is said before loading is what comes out."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mmcache.extract.config import ExtractConfig
from mmcache.extract.datasets import DATASETS
from mmcache.extract.encoders import DEFAULT_ENCODERS, ENCODERS, build_encoder, encoder_info
from mmcache.extract.media.base import AudioRequest, BoxesRequest, MediaRequest, SkeletonRequest, VideoRequest
from mmcache.extract.media.oracle import OracleRequest
from mmcache.store.errors import ConfigError
from mmcache.store.layout import check_name

SLOW = {"swin3d_b", "swin3d_s", "swin3d_b_audio", "swin3d_s_audio"}


def media_for(request: MediaRequest) -> NDArray[Any]:
    """Media as the readers would give it for `request`."""
    rng = np.random.default_rng(0)
    if isinstance(request, VideoRequest):
        size = (request.frames, request.short_side, request.short_side * 4 // 3, 3)
        return rng.integers(0, 256, size, dtype=np.uint8)
    if isinstance(request, AudioRequest):
        return rng.normal(0, 0.1, request.rate * 2).astype(np.float32)
    if isinstance(request, OracleRequest):
        return rng.normal(0, 1, (request.tokens, 16)).astype(np.float32)
    if isinstance(request, BoxesRequest):
        boxes = np.zeros((request.frames, request.boxes, 6), np.float32)
        boxes[:, :3] = [[0.2, 0.2, 0.4, 0.6, 1, 0.9], [0.1, 0.5, 0.3, 0.9, 2, 0.8], [0.6, 0.6, 0.9, 0.9, 2, 0.7]]
        boxes[:, :3, :4] += rng.uniform(0, 0.1, (request.frames, 3, 4))
        return boxes
    if isinstance(request, SkeletonRequest):
        return rng.normal(0, 1, (request.frames, request.bodies, request.joints, 3)).astype(np.float32)
    return rng.normal(0, 3, (request.points, 6)).astype(np.float32)


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in ENCODERS])
def test_what_is_said_of_the_tokens_is_what_comes_out(name: str) -> None:
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


@pytest.mark.parametrize("name", ["swin3d_demo", "ast_demo", "imu_demo", "imu_transformer"])
def test_a_batch_gives_what_its_segments_give_one_by_one(name: str) -> None:
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
        assert modality in ENCODERS[name].modalities
    for dataset, (reader, _) in DATASETS.items():
        for modality in reader.modalities:  # type: ignore[attr-defined]
            assert ExtractConfig(dataset).encoder_of(modality) in ENCODERS


def test_an_unknown_encoder_is_named_with_the_nearest_one() -> None:
    for call in (encoder_info, lambda name: build_encoder(name, "random")):
        with pytest.raises(ConfigError, match=r"unknown encoder 'swin3d_tt'\. Did you mean 'swin3d_t'\?"):
            call("swin3d_tt")
