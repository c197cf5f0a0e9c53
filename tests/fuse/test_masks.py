"""Keep-mask laws against their exact distributions (methods.md 0)."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import chisquare

from mmcache.fuse.masks import LAWS, subset_index, subset_name, subsets
from mmcache.store.order import id_keys

N = 40_000
KEYS = id_keys(f"segment_{i}" for i in range(N))


def law_probabilities(law: str, modalities: int, p: float, target: int) -> np.ndarray:
    """The exact P(S) of a law over `subsets(modalities)`, written from methods.md."""
    out = []
    for mask in subsets(modalities):
        k = int(mask.sum())
        full = k == modalities
        if law == "none":
            out.append(1.0 if full else 0.0)
        elif law == "target_only":
            without_target = k == modalities - 1 and not mask[target]
            out.append(1 - p if full else p if without_target else 0.0)
        else:
            out.append((1 - p) ** k * p ** (modalities - k) + (k == 1) * p**modalities / modalities)
    return np.array(out)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize(("modalities", "p"), [(2, 0.5), (3, 0.25), (3, 0.5), (4, 0.8)])
def test_frequencies_follow_the_law(law: str, modalities: int, p: float) -> None:
    present = np.ones((N, modalities), bool)
    keep = LAWS[law](present, KEYS, 7, 3, p, 1)
    expected = law_probabilities(law, modalities, p, 1)
    assert math.isclose(expected.sum(), 1.0)
    observed = np.bincount(subset_index(keep), minlength=len(expected))
    assert not observed[expected == 0].any()
    possible = expected > 0
    if possible.sum() > 1:
        assert chisquare(observed[possible], N * expected[possible]).pvalue > 1e-3


@pytest.mark.parametrize("law", LAWS)
def test_draws_depend_on_seed_epoch_and_segment_alone(law: str) -> None:
    present = np.ones((N, 3), bool)
    keep = LAWS[law](present, KEYS, 0, 0, 0.5, 0)
    some = np.random.default_rng(0).permutation(N)[:1000]
    assert (LAWS[law](present[some], KEYS[some], 0, 0, 0.5, 0) == keep[some]).all()
    if law != "none":
        assert (LAWS[law](present, KEYS, 0, 1, 0.5, 0) != keep).any()
        assert (LAWS[law](present, KEYS, 1, 0, 0.5, 0) != keep).any()


@pytest.mark.parametrize("law", LAWS)
def test_nothing_absent_is_kept_and_nothing_is_emptied(law: str) -> None:
    patterns = np.array(list(itertools.product([False, True], repeat=3)))
    present = np.tile(patterns, (N // 8, 1))
    keep = LAWS[law](present, KEYS, 0, 0, 0.9, 2)
    assert not (keep & ~present).any()
    assert (keep.any(axis=1) == present.any(axis=1)).all()


def test_the_last_one_standing_is_uniform_over_the_present() -> None:
    present = np.tile([True, False, True], (N, 1))
    keep = LAWS["bernoulli_keep_one"](present, KEYS, 0, 0, 0.999, None)
    assert not keep[:, 1].any()
    assert chisquare([keep[:, 0].sum(), keep[:, 2].sum()]).pvalue > 1e-3


def test_target_only_leaves_incomplete_segments_alone() -> None:
    present = np.tile([True, False, True], (N, 1))
    assert (LAWS["target_only"](present, KEYS, 0, 0, 0.9, 0) == present).all()


@pytest.mark.parametrize("modalities", [1, 2, 3, 5])
def test_subsets_are_all_different_and_found_again(modalities: int) -> None:
    masks = subsets(modalities)
    assert masks.shape == (2**modalities - 1, modalities)
    assert (subset_index(masks) == np.arange(len(masks))).all()
    assert masks[-1].all()
    names = ["rgb", "audio", "imu", "flow", "depth"][:modalities]
    assert len({subset_name(mask, names) for mask in masks}) == len(masks)


def test_subset_names_are_sorted() -> None:
    assert subset_name(np.array([True, False, True]), ["rgb", "imu", "audio"]) == "audio+rgb"


def test_empty_mask_has_no_index() -> None:
    assert subset_index(np.zeros((1, 3), bool)) == -1
