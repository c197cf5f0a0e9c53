"""What is true of every curve and summary, whatever the accuracies."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcache.fuse.evaluation import curves

N = 1001
NAMES = ["audio", "imu", "rgb"]
SUBSETS = ["+".join(c) for k in (1, 2, 3) for c in itertools.combinations(NAMES, k)]


@pytest.fixture
def correct() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    return {name: rng.random(N) < 0.2 + 0.1 * len(name) / 5 for name in SUBSETS}


@pytest.mark.holds("shared", "1.2 the drop curve runs from Acc(full) to the mean of single modalities")
def test_every_curve_starts_at_the_full_accuracy(correct: dict[str, np.ndarray]) -> None:
    full = curves.accuracy(correct["audio+imu+rgb"])
    assert curves.drop_curve(correct)["0"] == pytest.approx(full)
    assert curves.pattern_curve(correct)["0"] == full
    for name in NAMES:
        assert curves.missing_rate_curve(correct, name)["0"] == full


@pytest.mark.holds("shared", "1.1 missing sets are nested, of round(r N) segments, and accuracy is linear in r")
def test_missing_sets_are_nested_and_of_the_right_size() -> None:
    """Segments right in full and wrong without tell where the missing ones are."""
    right, wrong = np.ones(N, bool), np.zeros(N, bool)
    curve = curves.missing_rate_curve({"A+V": right, "V": wrong, "A": right}, "A", seed=5)
    for rate in curves.RATES:
        assert curve[str(rate)] == pytest.approx(100 * (1 - round(rate * N / 100) / N))
    # One segment at a time is right without A: with nested sets it is gained once, and kept.
    for i in range(0, N, 97):
        gains = curves.missing_rate_curve({"A+V": wrong, "V": np.arange(N) == i, "A": right}, "A", seed=5)
        values = [gains[str(rate)] for rate in curves.RATES]
        assert values == sorted(values)
        assert values[-1] == pytest.approx(100 / N)


@given(st.integers(1, 60), st.integers(0, 40), st.integers(0, 3))
def test_what_is_missing_by_nature_counts_as_incomplete(complete: int, fixed: int, seed: int) -> None:
    """Right in full, wrong without: at rate r, round(r N) of all N segments are incomplete, the fixed ones first."""
    right, wrong = np.ones(complete, bool), np.zeros(complete, bool)
    correct = {"A+V": right, "V": wrong, "A": right}
    curve = curves.missing_rate_curve(correct, "A", seed, natural=np.zeros(fixed, bool))
    n = complete + fixed
    for rate, value in curve.items():
        if fixed and rate == next(iter(curve)):
            assert value == pytest.approx(100 * complete / n)
        else:
            assert value == pytest.approx(100 * (1 - round(int(rate) * n / 100) / n))
    reached = {str(rate) for rate in curves.RATES if round(rate * n / 100) >= fixed}
    assert set(curve) == reached | ({str(round(100 * fixed / n))} if fixed else set())
    if not fixed:
        assert curve == curves.missing_rate_curve(correct, "A", seed)


def test_ego4d_ars_rates_begin_where_nature_does() -> None:
    """27 of 100 clips have no sound: MMT's columns 27, 50, 75 and 100 %."""
    correct = {"audio+rgb": np.ones(73, bool), "rgb": np.zeros(73, bool), "audio": np.ones(73, bool)}
    natural = np.arange(27) < 9
    curve = curves.missing_rate_curve(correct, "audio", natural=natural)
    assert list(curve) == ["27", "50", "75", "100"]
    assert list(curve.values()) == pytest.approx([82.0, 59.0, 34.0, 9.0])


@pytest.mark.holds("shared", "1.5 the pattern table is fixed for a segment and loses every modality equally often")
def test_patterns_lose_every_modality_equally_often() -> None:
    """At 70 %, a third of the 70 % lacks each of the three."""
    right, wrong = np.ones(N, bool), np.zeros(N, bool)
    for lost in NAMES:
        without = "+".join(sorted(set(NAMES) - {lost}))
        curve = curves.pattern_curve({name: wrong if name == without else right for name in SUBSETS})
        for rate in curves.PATTERN_RATES:
            assert curve[str(rate)] == pytest.approx(100 * (1 - rate / 100 / 3), abs=100 * 1.5 / N)


def test_a_single_modality_has_no_drop() -> None:
    correct = {"rgb": np.array([True, False])}
    assert curves.summary(correct) == {"avg_acc": 50.0, "avg_rel_drop": None, "mean_delta": None}
    assert curves.drop_curve(correct)["50"] == pytest.approx(50.0)
    assert curves.pattern_curve(correct) == {}


def test_a_drop_from_nothing_is_not_a_number() -> None:
    nothing = np.zeros(4, bool)
    assert curves.summary({"a+b": nothing, "a": nothing, "b": nothing})["avg_rel_drop"] is None


@pytest.mark.holds("shared", "1.3 ranks average to (K + 1) / 2")
@given(
    st.integers(1, 6).flatmap(
        lambda k: st.lists(st.lists(st.integers(0, 4), min_size=7, max_size=7), min_size=k, max_size=k)
    )
)
def test_ranks_average_to_their_middle(rows: list[list[int]]) -> None:
    """(K + 1) / 2 exactly, ties or not."""
    table = {f"m{i}": dict(zip(SUBSETS, map(float, row), strict=True)) for i, row in enumerate(rows)}
    ranks = curves.average_ranks(table)
    assert np.mean(list(ranks.values())) == pytest.approx((len(rows) + 1) / 2, abs=1e-12)


@pytest.mark.holds("shared", "1.3 ranks average to (K + 1) / 2")
def test_the_better_method_has_the_smaller_rank() -> None:
    """KARMMA's 13/7: first in one of seven subsets, second in the others."""
    best = dict.fromkeys(SUBSETS, 60.0)
    other = dict.fromkeys(SUBSETS, 50.0) | {"rgb": 70.0}
    assert curves.average_ranks({"a": best, "b": other}) == {"a": pytest.approx(8 / 7), "b": pytest.approx(13 / 7)}
    assert curves.average_ranks({"a": {"rgb": 1.0}, "b": {"imu": 1.0}}) == {}


def test_mean_over_classes_counts_every_class_once() -> None:
    labels = np.array([0, 0, 0, 0, 7, 7, 3])
    correct = np.array([1, 1, 1, 0, 0, 0, 1], bool)
    assert curves.class_mean(correct, labels) == pytest.approx(100 * (0.75 + 0 + 1) / 3)


def test_spread_of_one_run_has_no_deviation() -> None:
    assert curves.spread([3.0]) == {"mean": 3.0, "std": None, "runs": 1}
    assert curves.spread([1.0, 3.0]) == {"mean": 2.0, "std": pytest.approx(2**0.5), "runs": 2}


@pytest.mark.holds("shared", "1.7 a constant has its own area, and late fusion effective robustness 0")
def test_robustness_of_constants_and_of_the_reference() -> None:
    """MultiBench's invariants: a constant c has the area c, late fusion the effective robustness 0."""
    curve = [60.0 - 4 * i for i in range(11)]
    assert curves.relative_robustness([37.0] * 11) == pytest.approx(37.0)
    assert curves.relative_robustness(curve) == pytest.approx(40.0)
    assert curves.effective_robustness(curve, curve) == 0.0
    assert curves.effective_robustness([v + 9 for v in curve], curve) == pytest.approx(0.0)
    assert curves.effective_robustness([60.0] * 11, curve) == pytest.approx(sum(4 * i for i in range(11)))
    assert curves.min_max({"a": 1.0, "b": 3.0, "c": 2.0}) == {"a": 0.0, "b": 1.0, "c": 0.5}
    assert curves.min_max({"a": 2.0, "b": 2.0}) == {"a": 1.0, "b": 1.0}
