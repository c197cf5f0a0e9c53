"""The oracle's world: draws are keyed, and the Bayes accuracy is what brute force over the 64 combinations gives."""

import itertools

import numpy as np
import pytest
from scipy.stats import chisquare

from mmcache.common.oracle_world import CLASSES, STRENGTHS, WIDTH, Oracle, class_of, means

COMBINATIONS = np.array(list(itertools.product(range(4), range(4), range(2), range(2))))
IDS = [f"s{i}" for i in range(20_000)]


def posterior_accuracy(world: Oracle, subset: tuple[str, ...], tokens: dict[str, int], n: int) -> tuple[float, float]:
    """Accuracy in percent, and its standard error, of choosing the likeliest class given every token."""
    ids = IDS[:n]
    truth = class_of(world.factors(ids, 5))
    odds = np.where(COMBINATIONS[:, 2:] == 1, world.skew, 1 - world.skew).prod(axis=1)
    fit = np.tile(np.log(odds), (n, 1))
    for modality in subset:
        centres = means(modality)
        for i, segment in enumerate(ids):
            seen = world.tokens(segment, 5, modality, tokens[modality])
            away = ((seen[:, None] - centres[None]) ** 2).sum(axis=(0, 2))
            fit[i] -= away / (2 * world.noise**2)
    weights = np.exp(fit - fit.max(axis=1, keepdims=True))
    by_class = np.stack([weights[:, class_of(COMBINATIONS) == label].sum(axis=1) for label in range(32)], axis=1)
    share = float((by_class.argmax(axis=1) == truth).mean())
    return 100 * share, 100 * (share * (1 - share) / n) ** 0.5


@pytest.mark.parametrize("subset", [("a",), ("c",), ("b", "c"), ("a", "b", "c")], ids="+".join)
def test_bayes_accuracy_is_that_of_the_exact_posterior(subset: tuple[str, ...]) -> None:
    world, tokens = Oracle(noise=1.2, skew=0.3), {"a": 4, "b": 3, "c": 6}
    found, error = posterior_accuracy(world, subset, tokens, 2000)
    assert world.bayes_accuracy(tokens)["+".join(subset)] == pytest.approx(found, abs=3.5 * error)


def test_limits_of_the_bayes_accuracy() -> None:
    blind = Oracle(noise=1e6, skew=0.3).bayes_accuracy({"a": 1, "b": 1, "c": 1})
    assert len(blind) == 7
    for value in blind.values():
        assert value == pytest.approx(100 * 0.58 / 16, abs=0.1)  # the commoner parity of one of 16 pairs
    clear = Oracle(noise=0.01, skew=0.5).bayes_accuracy({"a": 1, "b": 1, "c": 1})
    expected = {"a": 50, "b": 12.5, "c": 12.5, "a+b": 50, "a+c": 50, "b+c": 100, "a+b+c": 100}
    assert clear == pytest.approx(expected, abs=0.2)


@pytest.mark.parametrize("skew", [0.3, 0.5])
def test_a_larger_subset_is_never_worse(skew: float) -> None:
    accuracy = Oracle(skew=skew).bayes_accuracy({"a": 8, "b": 8, "c": 8})
    for name, value in accuracy.items():
        for larger, more in accuracy.items():
            if set(name.split("+")) < set(larger.split("+")):
                assert more > value - 0.1
    alone = accuracy["a+b"] + accuracy["a+c"] - accuracy["a"]
    assert accuracy["a+b+c"] > alone + 10  # p and q together say more than the sum of what each says


def test_factors_follow_their_law_and_their_key() -> None:
    world = Oracle(skew=0.3)
    factors = world.factors(IDS, 1)
    for place in (0, 1):
        assert chisquare(np.bincount(factors[:, place])).pvalue > 1e-3
    for place in (2, 3):
        ones = factors[:, place].sum()
        assert chisquare([len(IDS) - ones, ones], [0.7 * len(IDS), 0.3 * len(IDS)]).pvalue > 1e-3
    assert (world.factors(IDS[50:60][::-1], 1)[::-1] == factors[50:60]).all()
    assert (world.factors(IDS, 2) != factors).any()


def test_classes_are_pairs_and_a_parity() -> None:
    labels = class_of(COMBINATIONS)
    assert len(CLASSES) == 32
    assert (np.bincount(labels) == 2).all()
    for (a, b, p, q), label in zip(COMBINATIONS, labels, strict=True):
        assert CLASSES[label] == f"a{a} b{b} {'odd' if p != q else 'even'}"


def test_tokens_scatter_around_the_sum_of_their_factors() -> None:
    world = Oracle(noise=0.5)
    for modality, carried in STRENGTHS.items():
        tokens = world.tokens("s1", 0, modality, 4000)
        assert tokens.shape == (4000, WIDTH)
        ((a, b, p, q),) = world.factors(["s1"], 0)
        centre = means(modality)[((a * 4 + b) * 2 + p) * 2 + q]
        assert np.abs(tokens.mean(axis=0) - centre).max() < 5 * 0.5 / 4000**0.5
        assert np.abs(tokens.std(axis=0) - 0.5).max() < 0.03
        assert (centre**2).sum() == pytest.approx(sum(length**2 for length in carried.values()))


def test_tokens_depend_on_their_key_alone() -> None:
    world = Oracle()
    one = world.tokens("s1", 0, "a", 8)
    np.testing.assert_array_equal(world.tokens("s1", 0, "a", 8), one)
    for other in (("s2", 0, "a", 8), ("s1", 1, "a", 8), ("s1", 0, "b", 8), ("s1", 0, "a", 8, "view 1")):
        assert (world.tokens(*other) != one).all()
