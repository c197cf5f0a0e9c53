"""Noise on tokens: its law, its key, and the curves."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from mmcache.fuse import Model, evaluate
from mmcache.fuse.data.eligible import evaluated_rows
from mmcache.fuse.evaluation.noise import KINDS, _draws, noise_curves, noised
from mmcache.store import FeatureStore

TOKENS = torch.from_numpy(np.random.default_rng(0).standard_normal((40, 50, 20)).astype(np.float32)) + 5


def draws(kind: str) -> torch.Tensor:
    return torch.from_numpy(np.stack([_draws(f"s{i}", "rgb", kind, (50, 20), 0) for i in range(40)]))


@pytest.mark.parametrize("kind", KINDS)
def test_level_zero_changes_nothing(kind: str) -> None:
    assert torch.equal(noised(TOKENS, kind, 0.0, draws(kind)), TOKENS)


def test_gaussian_noise_has_the_deviation_of_its_level() -> None:
    added = noised(TOKENS, "gaussian", 0.3, draws("gaussian")) - TOKENS
    assert added.std().item() == pytest.approx(0.3, rel=0.02)
    assert abs(added.mean().item()) < 0.01


def test_zeros_come_with_the_chance_of_the_level_and_stay() -> None:
    for kind in ("elements", "steps"):
        zero = [noised(TOKENS, kind, level, draws(kind)) == 0 for level in (0.2, 0.6, 1.0)]
        for level, where in zip((0.2, 0.6, 1.0), zero, strict=True):
            assert where.float().mean().item() == pytest.approx(level, abs=0.03)
        assert not (zero[0] & ~zero[1]).any()
    whole = noised(TOKENS, "steps", 0.5, draws("steps")) == 0
    assert torch.equal(whole.any(dim=2), whole.all(dim=2))  # a token is gone as a whole
    numbers = noised(TOKENS, "elements", 0.5, draws("elements")) == 0
    assert (numbers.any(dim=2) & ~numbers.all(dim=2)).any()


def test_draws_belong_to_segment_modality_kind_and_seed() -> None:
    one = _draws("s1", "rgb", "gaussian", (5, 4), 0)
    np.testing.assert_array_equal(_draws("s1", "rgb", "gaussian", (5, 4), 0), one)
    for other in (("s2", "rgb", "gaussian", (5, 4), 0), ("s1", "imu", "gaussian", (5, 4), 0)):
        assert (_draws(*other) != one).all()
    assert (_draws("s1", "rgb", "gaussian", (5, 4), 1) != one).all()


def test_curves_start_at_the_clean_accuracy_and_end_at_nothing(run: Path, store_path: Path) -> None:
    model, store = Model.load(run), FeatureStore.open(store_path)
    rows = evaluated_rows(store, "validation", store.modalities)
    found = noise_curves(model, store, rows, 8)
    clean = evaluate(run)["subsets"]["audio+imu+rgb"]
    assert set(found) == set(KINDS)
    for kind in KINDS:
        for task, figures in clean.items():
            curve = found[kind][task]["top1"]
            assert list(curve) == [f"{i / 10:g}" for i in range(11)]
            assert curve["0"] == pytest.approx(figures["top1"])
            values = list(curve.values())
            area = sum((a + b) / 20 for a, b in itertools.pairwise(values))
            assert found[kind][task]["relative"] == pytest.approx(area)
    # With every number zero all segments look alike, however they were zeroed: one class is right.
    assert found["elements"]["verb"]["top1"]["1"] == found["steps"]["verb"]["top1"]["1"]
    assert noise_curves(model, store, rows[::-1].copy(), 8) == found
