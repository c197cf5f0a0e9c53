"""What augmentations keep, what they change, and how far they may go."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mmcache.extract.encoders.base.views import View
from mmcache.extract.encoders.inputs import augment
from mmcache.extract.media.base.requests import AudioRequest, BoxesRequest, ImuRequest, SkeletonRequest, VideoRequest

SEEDS = range(40)


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def film(frames: int = 3, height: int = 60, width: int = 90) -> NDArray[np.uint8]:
    """Every frame the same; red rises to the right, green downwards, blue is a constant."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[..., 0] = np.linspace(30, 220, width).round()[None]
    picture[..., 1] = np.linspace(30, 220, height).round()[:, None]
    picture[..., 2] = 128
    return np.broadcast_to(picture, (frames, *picture.shape)).copy()


@pytest.mark.parametrize("size", [(60, 90), (90, 60), (32, 32), (40, 400)])
@pytest.mark.parametrize("modality", ["rgb", "flow", "depth", "ir"])
def test_all_pictures_of_a_segment_are_changed_alike(size: tuple[int, int], modality: str) -> None:
    media = film(4, *size)
    kept = media.copy()
    for seed in SEEDS:
        view = augment.frames(media, 32, View.drawn(seed), modality)
        assert (view.shape, view.dtype) == ((4, 32, 32, 3), torch.uint8)
        assert view.is_contiguous()
        assert (view == view[:1]).all()
    np.testing.assert_array_equal(media, kept)


def test_a_view_shows_at_least_half_of_the_picture_wherever_it_lies() -> None:
    """Depth is neither coloured nor signed, so that the ramps tell which part is seen."""
    shares, lefts, tops = [], [], []
    for seed in range(300):
        view = augment.frames(film(1, 120, 160), 64, View.drawn(seed), "depth")[0].double()
        across, down = view[..., 0].mean(0), view[..., 1].mean(1)
        wide, high = (abs(float(ramp[-1] - ramp[0])) / 190 * 64 / 63 for ramp in (across, down))
        shares.append(wide * high)
        lefts.append(float(across.min() - 30) / 190)
        tops.append(float(down.min() - 30) / 190)
    assert min(shares) > 0.5 * 0.94  # ramps are read off with an error of a few per cent
    assert max(shares) > 0.85
    for offsets in (lefts, tops):
        assert min(offsets) < 0.03
        assert max(offsets) > 0.2


def test_about_half_of_the_views_are_mirrored() -> None:
    rising = [
        bool(v[0, 0, -1, 0] > v[0, 0, 0, 0])
        for v in (augment.frames(film(), 32, View.drawn(s), "ir") for s in range(400))
    ]
    assert 0.4 < np.mean(rising) < 0.6
    upright = [
        bool(v[0, -1, 0, 1] > v[0, 0, 0, 1]) for v in (augment.frames(film(), 32, View.drawn(s), "ir") for s in SEEDS)
    ]
    assert all(upright)


@pytest.mark.parametrize(("right", "left"), [(128, 128), (148, 108), (0, 255), (1, 255), (255, 1)])
def test_flow_in_the_mirror_goes_the_other_way(right: int, left: int) -> None:
    """u is 128 where nothing moves; -128 has no opposite and becomes the nearest, 127. v stays."""
    media = np.empty((2, 60, 60, 3), np.uint8)
    media[..., 0], media[..., 1], media[..., 2] = right, 77, 128
    seen = {
        tuple(augment.frames(media, 32, View.drawn(seed), "flow").unique(dim=2)[0, 0, 0].tolist()) for seed in SEEDS
    }
    assert seen == {(right, 77, 128), (left, 77, 128)}


def test_only_rgb_changes_its_colours() -> None:
    media = np.full((2, 60, 60, 3), (90, 120, 150), np.uint8)
    for modality in ("depth", "ir", ""):
        assert all(
            (augment.frames(media, 32, View.drawn(seed), modality) == torch.tensor([90, 120, 150])).all()
            for seed in SEEDS
        )
    coloured = torch.stack(
        [augment.frames(media, 32, View.drawn(seed), "rgb")[0, 0, 0] for seed in range(200)]
    ).double()
    brightness = coloured.mean(dim=1) / 120
    assert 0.58 < brightness.min() < 0.7
    assert 1.3 < brightness.max() < 1.42
    assert len(coloured.unique(dim=0)) > 150


def test_a_spectrogram_has_one_band_and_one_stretch_masked_within_the_sound() -> None:
    mel = torch.ones(1024, 128)
    heard, widest = 800, [0, 0]
    for seed in range(200):
        view = augment.spectrogram(mel, heard, rng(seed))
        assert (view[heard:] == 1).all()  # padding stays what it is
        masked = view[:heard] == 0
        bins, frames = masked.all(dim=0), masked.all(dim=1)
        assert (masked == (bins[None] | frames[:, None])).all()
        for i, (part, most) in enumerate(((bins, 48), (frames, 150))):
            width = int(part.sum())
            assert width <= most
            assert width == 0 or part.nonzero()[-1] - part.nonzero()[0] == width - 1
            widest[i] = max(widest[i], width)
    assert widest[0] > 43
    assert widest[1] > 135
    assert (mel == 1).all()


def test_a_wave_loses_a_band_and_a_stretch() -> None:
    wave = rng(0).normal(0, 0.1, 16000).astype(np.float32)
    kept, silent, lost = wave.copy(), [], []
    for seed in range(100):
        view = augment.waveform(wave, rng(seed))
        assert (view.shape, view.dtype) == (wave.shape, np.float32)
        silent.append((view == 0).mean())
        lost.append(1 - (view**2).sum() / (wave**2).sum())
    assert max(silent) <= 192 / 1024
    assert max(silent) > 0.16
    assert max(lost) < 48 / 128 + 192 / 1024
    assert min(lost) > -1e-6
    np.testing.assert_array_equal(wave, kept)


@pytest.mark.parametrize("length", [1, 2, 3, 7])
def test_the_shortest_sounds_have_views_too(length: int) -> None:
    for seed in SEEDS:
        view = augment.waveform(np.full(length, 0.5, np.float32), rng(seed))
        assert view.shape == (length,)
        assert np.isfinite(view).all()
        assert augment.spectrogram(torch.ones(length, 128), length, rng(seed)).shape == (length, 128)


def test_motion_is_turned_a_little_and_scaled() -> None:
    samples = rng(9).normal(0, 3, (50, 6)).astype(np.float32)
    kept, angles, scales = samples.copy(), [], []
    for seed in range(200):
        view = augment.motion(samples, rng(seed))
        assert (view.shape, view.dtype) == ((50, 6), np.float32)
        per_sensor = []
        for sensor in (slice(0, 3), slice(3, 6)):
            before, after = samples[:, sensor].astype(np.float64), view[:, sensor].astype(np.float64)
            matrix = np.linalg.lstsq(before, after, rcond=None)[0]  # before @ matrix = after
            np.testing.assert_allclose(before @ matrix, after, atol=1e-4)
            per_sensor.append(matrix)
        np.testing.assert_allclose(per_sensor[0], per_sensor[1], atol=1e-5)  # both sensors are in one case
        scale = np.cbrt(np.linalg.det(per_sensor[0]))
        turn = per_sensor[0] / scale
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-5)
        scales.append(scale)
        angles.append(math.degrees(math.acos(min(1.0, (np.trace(turn) - 1) / 2))))
    assert max(angles) < 15.01
    assert max(angles) > 13
    assert np.mean(scales) == pytest.approx(1.0, abs=0.03)
    assert np.std(scales) == pytest.approx(0.1, abs=0.02)
    np.testing.assert_array_equal(samples, kept)


def test_poses_are_turned_around_the_vertical() -> None:
    joints = rng(4).normal(0, 1, (8, 2, 25, 3)).astype(np.float32)
    joints[:, 1] = 0.0  # nobody
    turns = []
    for seed in range(100):
        view = augment.poses(joints, rng(seed))
        assert (view.shape, view.dtype) == (joints.shape, np.float32)
        np.testing.assert_allclose(view[..., 1], joints[..., 1], atol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(view, axis=-1), np.linalg.norm(joints, axis=-1), atol=1e-5)
        assert (view[:, 1] == 0).all()
        before, after = (np.arctan2(j[:, 0, :, 0], j[:, 0, :, 2]) for j in (joints, view))
        turn = (after - before + np.pi) % (2 * np.pi) - np.pi
        assert np.ptp(turn) < 1e-3  # one turn for the whole segment
        turns.append(turn.mean())
    assert max(np.abs(turns)) < 0.3001
    assert min(turns) < -0.25 < 0.25 < max(turns)


def test_every_kind_of_media_an_encoder_here_augments_has_its_parameters() -> None:
    requests = [
        VideoRequest(frames=1, short_side=1),
        AudioRequest(rate=1, max_seconds=1.0),
        ImuRequest(points=1),
        SkeletonRequest(frames=1, bodies=1, joints=1),
    ]
    said = [augment.parameters(request) for request in requests]
    assert all(said)
    assert len({frozenset(parameters) for parameters in said}) == len(requests)
    assert augment.parameters(BoxesRequest(frames=1, boxes=1, min_score=0.5)) == {}  # its encoder says its own
