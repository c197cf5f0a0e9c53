"""The IMU transformer of MMG-Ego4D: its published size, its units, its clock."""

import numpy as np
import pytest
import torch

from mmcache.extract.encoders import build_encoder


def test_it_has_the_published_number_of_parameters() -> None:
    encoder = build_encoder("imu_transformer", "random")
    count = sum(parameter.numel() for parameter in encoder.model.parameters())
    assert count == pytest.approx(15.55e6, rel=0.01)


def test_tokens_are_those_of_the_network_called_directly() -> None:
    encoder = build_encoder("imu_transformer", "random")
    media = np.random.default_rng(0).normal(0, 3, (848, 6)).astype(np.float32)
    samples = torch.from_numpy(np.concatenate([media[:, :3] / 9.81, media[:, 3:]], axis=1).T.copy())
    with torch.inference_mode():
        model = encoder.model
        tokens = model.blocks(model.stem(samples[None]).transpose(1, 2) + model.positions)
    np.testing.assert_allclose(encoder.encode(encoder.preprocess(media)[None]), tokens.numpy(), rtol=1e-4, atol=1e-5)


def test_preprocessing_leaves_the_media_it_was_given_alone() -> None:
    encoder = build_encoder("imu_demo", "random")
    media = np.random.default_rng(0).normal(0, 3, (256, 6)).astype(np.float32)
    kept = media.copy()
    samples = encoder.preprocess(media)
    assert samples.shape == (6, 256)
    np.testing.assert_array_equal(media, kept)


@pytest.mark.parametrize("token", [0, 7, 20, 31])
def test_tokens_are_in_time_order(token: int) -> None:
    """A jolt changes the tokens of its own time most."""
    encoder = build_encoder("imu_demo", "random")  # 32 tokens of 8 samples
    media = np.random.default_rng(0).normal(0, 1, (256, 6)).astype(np.float32)
    jolted = media.copy()
    jolted[8 * token : 8 * token + 8] += 40.0
    before, after = encoder.encode(torch.stack([encoder.preprocess(media), encoder.preprocess(jolted)]))
    change = np.abs(after - before).sum(axis=1)
    near = np.abs(np.arange(32) - token) <= 3
    assert change[near].mean() > 2 * change[~near].mean()
