"""Protocols against published figures, where arithmetic alone reproduces them (methods.md 1 and 4)."""

import numpy as np
import pytest

from mmcache.fuse import protocols
from mmcache.fuse.masks import draw_masks, subset_name, subsets
from mmcache.store.order import id_keys

N = 20_000
NAMES = ["VFX", "VF", "VX", "FX", "V", "F", "X"]
# methods.md T2, KARMMA v1, action accuracy; X is audio on EPIC-KITCHENS (EK), boxes on Something-Something (SS).
KARMMA = {
    "EK baseline": [40.00, 36.80, 37.48, 5.49, 32.10, 2.58, 2.05],
    "EK delta": [41.49, 39.69, 39.36, 27.09, 37.84, 25.64, 6.23],
    "SS baseline": [57.31, 56.98, 40.03, 37.35, 39.91, 36.50, 0.07],
    "SS delta": [60.31, 60.38, 53.04, 50.78, 53.02, 50.97, 1.21],
}
# methods.md Fig. 4, read off the figure to about 0.1 point, at p = 0, 10, ..., 90 %
FIGURE_4 = {
    "EK baseline": [40.0, 36.2, 32.2, 28.4, 24.6, 21.6, 18.1, 15.8, 13.8, 12.8],
    "EK delta": [41.5, 39.5, 37.3, 34.8, 32.3, 29.9, 27.7, 25.9, 24.6, 23.4],
    "SS baseline": [57.3, 53.3, 49.1, 44.8, 40.6, 36.9, 33.0, 30.0, 27.4, 25.6],
    "SS delta": [60.3, 58.1, 55.5, 52.2, 49.1, 45.7, 42.5, 39.7, 37.5, 35.5],
}
# methods.md T3, ActionMAE on NTU RGB+D 60
ACTION_MAE = {
    "sum": ([93.3, 89.0, 59.4, 89.2, 15.6, 85.9, 12.1], -34.8),
    "concat": ([93.2, 91.4, 75.4, 18.6, 53.1, 88.2, 31.7], -33.5),
    "transformer": ([92.6, 91.6, 66.6, 90.4, 56.6, 88.9, 35.4], -21.0),
}
# methods.md T1, MMT: accuracy at 0, 25, 50, 75 and 100 % missing
MMT = {
    "ES test-zeros": [55.2, 45.6, 37.1, 28.3, 19.5],
    "ES test-skip": [55.2, 47.0, 39.9, 32.5, 25.0],
    "ES train-zeros": [56.8, 52.1, 47.6, 43.2, 38.8],
    "ES mmt": [56.3, 52.3, 48.6, 44.6, 40.7],
    "EK test-zeros": [63.9, 55.5, 46.8, 37.9, 29.5],
    "EK test-skip": [63.9, 53.2, 42.1, 30.8, 20.0],
    "EK train-zeros": [61.5, 57.5, 53.5, 49.3, 45.2],
    "EK mmt": [63.4, 59.0, 54.6, 50.0, 45.3],
}


def correct_with(names: list[str], accuracies: list[float]) -> dict[str, np.ndarray]:
    """Correctness arrays of these accuracies in percent, exact to 1 / N."""
    return {
        "+".join(sorted(name)): np.arange(N) < round(value / 100 * N)
        for name, value in zip(names, accuracies, strict=True)
    }


@pytest.mark.parametrize("row", KARMMA)
def test_drop_curve_is_within_a_point_of_the_published_one(row: str) -> None:
    curve = protocols.drop_curve(correct_with(NAMES, KARMMA[row]))
    assert curve["0"] == pytest.approx(KARMMA[row][0], abs=0.01)
    for percent, value in zip(protocols.DROPS, FIGURE_4[row], strict=True):
        assert curve[str(percent)] == pytest.approx(value, abs=1.0)


@pytest.mark.parametrize("name", ACTION_MAE)
def test_mean_delta_is_the_published_one(name: str) -> None:
    values, published = ACTION_MAE[name]
    summary = protocols.summary(correct_with(["RDI", "RD", "RI", "DI", "R", "D", "I"], values))
    assert summary["mean_delta"] == pytest.approx(published, abs=0.06)
    assert summary["avg_rel_drop"] == pytest.approx(-100 * summary["mean_delta"] / values[0], abs=1e-3)
    assert summary["avg_acc"] == pytest.approx(np.mean(values), abs=0.01)


@pytest.mark.parametrize("row", MMT)
def test_rates_between_the_ends_are_the_published_ones(row: str) -> None:
    """Linear in expectation: what is printed at 25, 50 and 75 % follows from the two ends."""
    printed = MMT[row]
    rng = np.random.default_rng(0)
    correct = {"A+V": rng.random(N) < printed[0] / 100, "V": rng.random(N) < printed[-1] / 100, "A": np.ones(N, bool)}
    curve = protocols.missing_rate_curve(correct, "A")
    assert curve["0"] == protocols.accuracy(correct["A+V"])
    assert curve["100"] == protocols.accuracy(correct["V"])
    for rate, value in zip(protocols.RATES, printed, strict=True):
        assert curve[str(rate)] == pytest.approx(value, abs=1.3)


def test_drop_curve_agrees_with_drawn_masks() -> None:
    """The closed form is the mean over the law bernoulli_keep_one, within three standard errors."""
    rng = np.random.default_rng(1)
    names = ["a", "b", "c"]
    masks = subsets(3)
    keys = id_keys(str(i) for i in range(N))
    correct = {subset_name(mask, names): rng.random(N) < 0.2 + 0.25 * mask.sum() for mask in masks}
    curve = protocols.drop_curve(correct)
    for percent in (0, 20, 50, 90):
        keep = draw_masks("bernoulli_keep_one", np.ones((N, 3), bool), keys, 0, percent, percent / 100, None)
        hits = np.array([correct[subset_name(row, names)][i] for i, row in enumerate(keep)])
        error = 100 * hits.std() / np.sqrt(N)
        assert curve[str(percent)] == pytest.approx(100 * hits.mean(), abs=3 * error + 1e-9)
