"""Calibration error and bootstrap intervals against closed forms and library figures."""

import numpy as np
import pytest
from scipy.stats import bootstrap as scipy_bootstrap

from mmcache.fuse.evaluation.bootstrap import intervals, resampled
from mmcache.fuse.evaluation.calibration import BINS, calibration_error


def by_loop(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Guo et al., bin by bin."""
    total = 0.0
    for i in range(BINS):
        here = (confidence > i / BINS) & (confidence <= (i + 1) / BINS)
        if here.any():
            total += here.mean() * abs(correct[here].mean() - confidence[here].mean())
    return 100 * total


def test_calibration_error_is_that_of_the_paper() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.random(3000)
    correct = rng.random(3000) < confidence**2
    assert calibration_error(confidence, correct) == pytest.approx(by_loop(confidence, correct))
    edges = np.arange(1, BINS + 1) / BINS
    assert calibration_error(edges, edges > 0.5) == pytest.approx(by_loop(edges, edges > 0.5))


def test_confidence_equal_to_accuracy_is_calibrated() -> None:
    assert calibration_error(np.ones(10), np.ones(10, bool)) == 0
    assert calibration_error(np.full(10, 0.7), np.arange(10) < 7) == pytest.approx(0)
    assert calibration_error(np.ones(10), np.zeros(10, bool)) == 100


def test_intervals_are_those_of_another_bootstrap() -> None:
    rng = np.random.default_rng(1)
    full, part = rng.random(800) < 0.7, rng.random(800) < 0.4
    found = intervals({"a+b": full, "a": part, "b": part[::-1]})
    other = scipy_bootstrap((full,), np.mean, method="percentile", rng=np.random.default_rng(5), n_resamples=2000)
    assert found["subsets"]["a+b"] == pytest.approx(100 * np.array(other.confidence_interval), abs=0.7)
    low, high = found["mean_delta"]
    assert low < 100 * (part.mean() - full.mean()) < high
    assert found["avg_rel_drop"][0] > 0
    assert found["level"] == 95


def test_draws_are_seeded_and_shared_by_the_subsets() -> None:
    """One set of segments a draw: subsets that are right alike stay alike, whatever is drawn."""
    rng = np.random.default_rng(2)
    correct = rng.random(300) < 0.5
    one = resampled({"a": correct, "b": correct.copy(), "c": ~correct})
    np.testing.assert_array_equal(one["a"], one["b"])
    np.testing.assert_allclose(one["a"] + one["c"], 100.0, atol=1e-4)
    np.testing.assert_array_equal(resampled({"a": correct})["a"], one["a"])
    assert (resampled({"a": correct}, seed=1)["a"] != one["a"]).any()
    assert one["a"].std() == pytest.approx(100 * (0.25 / 300) ** 0.5, rel=0.1)


def test_a_draw_from_zero_has_no_relative_drop() -> None:
    found = intervals({"a+b": np.zeros(5, bool), "a": np.ones(5, bool), "b": np.zeros(5, bool)})
    assert "avg_rel_drop" not in found
    assert found["subsets"]["a"] == [100.0, 100.0]
    assert set(intervals({"a": np.ones(5, bool)})) == {"level", "subsets", "avg_acc"}
