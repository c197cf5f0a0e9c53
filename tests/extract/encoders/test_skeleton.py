"""Skeletons: poses seen from the main actor, who is not there stays nowhere."""

import numpy as np
import pytest
from numpy.typing import NDArray

from mmcache.extract.encoders import build_encoder, encoder_info, entry_of
from mmcache.extract.encoders.base.entry import NO_WEIGHTS
from mmcache.extract.encoders.base.views import View

SPINE = 1


def people(seed: int = 0) -> NDArray[np.float32]:
    """(64, 2, 25, 3): two people, the second one there for the frames 20 to 40 alone."""
    poses = np.random.default_rng(seed).normal(1.0, 0.5, (64, 2, 25, 3)).astype(np.float32)
    poses[:20, 1] = poses[40:, 1] = 0.0
    return poses


def test_tokens_are_the_poses_around_the_main_actors_spine() -> None:
    poses = people()
    encoder = build_encoder("joints", "pretrained")
    tokens = encoder.encode(encoder.preprocess(poses)[None])[0]
    assert tokens.shape == (64, 150)
    seen = tokens.reshape(64, 2, 25, 3)
    np.testing.assert_array_equal(seen[0, 0, SPINE], 0.0)
    np.testing.assert_allclose(seen[:, 0], poses[:, 0] - poses[0, 0, SPINE], atol=1e-6)
    np.testing.assert_allclose(seen[20:40, 1], poses[20:40, 1] - poses[0, 0, SPINE], atol=1e-6)
    assert (seen[:20, 1] == 0).all()
    assert (seen[40:, 1] == 0).all()


def test_where_the_camera_stood_changes_nothing() -> None:
    encoder = build_encoder("joints", "pretrained")
    poses = people()
    moved = np.where((poses != 0).any(-1, keepdims=True), poses + np.float32([3.0, -1.0, 2.5]), 0.0).astype(np.float32)
    np.testing.assert_allclose(encoder.preprocess(moved), encoder.preprocess(poses), atol=1e-5)


@pytest.mark.parametrize("first", [1, 30, 63])
def test_the_origin_is_taken_when_the_main_actor_is_first_seen(first: int) -> None:
    encoder = build_encoder("joints", "pretrained")
    poses = people()
    poses[:first, 0] = 0.0
    tokens = encoder.preprocess(poses).numpy().reshape(64, 2, 25, 3)
    np.testing.assert_array_equal(tokens[first, 0, SPINE], 0.0)
    assert (tokens[:first, 0] == 0).all()
    np.testing.assert_allclose(tokens[-1, 0], poses[-1, 0] - poses[first, 0, SPINE], atol=1e-6)


def test_joints_a_sensor_does_not_have_stay_zero() -> None:
    """Of 20 joints, as in NW-UCLA, the other five are zero."""
    encoder = build_encoder("joints", "pretrained")
    poses = people()
    poses[:, :, 20:] = 0.0
    tokens = encoder.preprocess(poses).numpy().reshape(64, 2, 25, 3)
    assert (tokens[:, :, 20:] == 0).all()
    assert (tokens[:, 0, :20] != 0).any(-1).sum() == 64 * 20 - 1  # all but the origin


def test_nobody_at_all_is_zero() -> None:
    encoder = build_encoder("joints", "pretrained")
    assert not encoder.preprocess(np.zeros((64, 2, 25, 3), np.float32)).any()


def test_it_needs_no_weights_and_takes_any() -> None:
    assert entry_of("joints").published == NO_WEIGHTS
    fingerprints = [
        build_encoder("joints", weights).fingerprint(None) for weights in ("pretrained", "random:3", "/gone")
    ]
    assert fingerprints[0] == fingerprints[1] == fingerprints[2]
    assert fingerprints[0].weights == NO_WEIGHTS
    assert list(build_encoder("joints", "pretrained").model.state_dict()) == []


def test_the_media_given_is_left_alone() -> None:
    encoder, poses = build_encoder("joints", "pretrained"), people()
    kept = poses.copy()
    encoder.preprocess(poses)
    encoder.preprocess(poses, View.drawn(0), "skeleton")
    np.testing.assert_array_equal(poses, kept)
    assert encoder_info("joints").tokens == 64
