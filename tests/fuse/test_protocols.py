"""Protocols against published figures, where arithmetic alone reproduces them (methods.md 1 and 4)."""

import itertools

import numpy as np
import pytest

from mmcache.fuse import protocols
from mmcache.fuse.masks import LAWS, subset_name, subsets
from mmcache.store.order import id_keys

N = 20_000
# methods.md T2, KARMMA v1: EPIC-KITCHENS action accuracy, audio is X
KARMMA_BASELINE_EK = {"VFX": 40.00, "VF": 36.80, "VX": 37.48, "FX": 5.49, "V": 32.10, "F": 2.58, "X": 2.05}
KARMMA_DELTA_SS = {"VFX": 60.31, "VF": 60.38, "VX": 53.04, "FX": 50.78, "V": 53.02, "F": 50.97, "X": 1.21}
# methods.md T3, ActionMAE on NTU RGB+D 60
ACTION_MAE = {
    "sum": ([93.3, 89.0, 59.4, 89.2, 15.6, 85.9, 12.1], -34.8),
    "concat": ([93.2, 91.4, 75.4, 18.6, 53.1, 88.2, 31.7], -33.5),
    "transformer": ([92.6, 91.6, 66.6, 90.4, 56.6, 88.9, 35.4], -21.0),
}


def correct_with(accuracies: dict[str, float]) -> dict[str, np.ndarray]:
    """Correctness arrays of these accuracies in percent, exact to 1 / N."""
    return {"+".join(name): np.arange(N) < round(value / 100 * N) for name, value in accuracies.items()}


@pytest.mark.parametrize(
    ("accuracies", "published"),
    [(KARMMA_BASELINE_EK, {30: 28.4, 50: 21.6, 90: 12.8}), (KARMMA_DELTA_SS, {30: 52.2, 50: 45.7, 90: 35.5})],
)
def test_drop_curve_is_within_a_point_of_the_published_one(accuracies: dict, published: dict) -> None:
    curve = protocols.drop_curve(correct_with(accuracies))
    assert curve["0"] == pytest.approx(accuracies["VFX"], abs=0.01)
    for percent, value in published.items():
        assert curve[str(percent)] == pytest.approx(value, abs=1.0)


@pytest.mark.parametrize("name", ACTION_MAE)
def test_mean_delta_is_the_published_one(name: str) -> None:
    values, published = ACTION_MAE[name]
    subset_names = ["RDI", "RD", "RI", "DI", "R", "D", "I"]
    summary = protocols.summary(correct_with(dict(zip(subset_names, values, strict=True))))
    assert summary["mean_delta"] == pytest.approx(published, abs=0.06)
    assert summary["avg_rel_drop"] == pytest.approx(-100 * summary["mean_delta"] / values[0], abs=1e-3)
    assert summary["avg_acc"] == pytest.approx(np.mean(values), abs=0.01)


def test_missing_rate_is_nested_exact_and_linear_in_expectation() -> None:
    """MMT on EPIC-SOUNDS: 56.3 complete and 40.7 without audio are printed with 48.6 at half."""
    rng = np.random.default_rng(0)
    correct = {"A+V": rng.random(N) < 0.563, "V": rng.random(N) < 0.407, "A": rng.random(N) < 0.5}
    curve = protocols.missing_rate_curve(correct, "A")
    assert curve["0"] == protocols.accuracy(correct["A+V"])
    assert curve["100"] == protocols.accuracy(correct["V"])
    assert curve["50"] == pytest.approx(48.6, abs=1.0)


def test_missing_sets_are_nested_and_of_the_right_size() -> None:
    """Segments right in full and wrong without tell where the missing ones are."""
    correct = {"A+V": np.ones(1001, bool), "V": np.zeros(1001, bool), "A": np.ones(1001, bool)}
    curve = protocols.missing_rate_curve(correct, "A", seed=5)
    for rate in protocols.RATES:
        assert curve[str(rate)] == pytest.approx(100 * (1 - round(rate * 1001 / 100) / 1001))


def test_drop_curve_agrees_with_drawn_masks() -> None:
    """The closed form is the mean over the law bernoulli_keep_one, within three standard errors."""
    rng = np.random.default_rng(1)
    names = ["a", "b", "c"]
    masks = subsets(3)
    keys = id_keys(str(i) for i in range(N))
    correct = {subset_name(mask, names): rng.random(N) < 0.2 + 0.25 * mask.sum() for mask in masks}
    curve = protocols.drop_curve(correct)
    for percent in (0, 20, 50, 90):
        keep = LAWS["bernoulli_keep_one"](np.ones((N, 3), bool), keys, 0, percent, percent / 100, None)
        hits = np.array([correct[subset_name(row, names)][i] for i, row in enumerate(keep)])
        error = 100 * hits.std() / np.sqrt(N)
        assert curve[str(percent)] == pytest.approx(100 * hits.mean(), abs=3 * error + 1e-9)


def test_every_curve_starts_at_the_full_accuracy() -> None:
    rng = np.random.default_rng(2)
    names = ["audio", "imu", "rgb"]
    chosen = [c for k in (1, 2, 3) for c in itertools.combinations(names, k)]
    correct = {"+".join(c): rng.random(500) < 0.5 for c in chosen}
    full = protocols.accuracy(correct["audio+imu+rgb"])
    assert protocols.drop_curve(correct)["0"] == pytest.approx(full)
    for name in names:
        assert protocols.missing_rate_curve(correct, name)["0"] == full


def test_a_single_modality_has_no_drop() -> None:
    correct = {"rgb": np.array([True, False])}
    assert protocols.summary(correct) == {"avg_acc": 50.0, "avg_rel_drop": None, "mean_delta": None}
    assert protocols.drop_curve(correct)["50"] == pytest.approx(50.0)


def test_a_drop_from_nothing_is_not_a_number() -> None:
    nothing = np.zeros(4, bool)
    assert protocols.summary({"a+b": nothing, "a": nothing, "b": nothing})["avg_rel_drop"] is None
