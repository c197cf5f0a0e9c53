"""Keep-mask laws against their exact distributions (methods.md 0)."""

import itertools
import math
from math import comb

import numpy as np
import pytest
from scipy.stats import chisquare

from mmcache.fuse import config
from mmcache.fuse.data.masks import LAWS, draw_masks, subset_index, subset_name, subsets, windows
from mmcache.store.ground.errors import ConfigError
from mmcache.store.load.order import id_keys

N = 40_000
KEYS = id_keys(f"segment_{i}" for i in range(N))
A_BATCH = ("uniform_count_a_batch", "uniform_set_a_batch")
FIXED = ("none", "pattern_table")  # the same in every epoch
A_SEGMENT = [law for law in LAWS if law not in A_BATCH]


def law_probabilities(law: str, modalities: int, p: float, target: int | None) -> np.ndarray:
    """The exact P(S) of a law over `subsets(modalities)`, written from methods.md."""
    out = []
    for mask in subsets(modalities):
        k = int(mask.sum())
        full, one_less = k == modalities, k == modalities - 1
        ways = comb(modalities, k)
        out.append(
            {
                "none": 1.0 * full,
                "target_only": 1 - p if full else p * (one_less and not mask[target or 0]),
                "bernoulli_keep_one": (1 - p) ** k * p ** (modalities - k) + (k == 1) * p**modalities / modalities,
                "uniform_count": 1 / (modalities * ways),
                "uniform_count_a_batch": 1 / (modalities * ways),
                "uniform_set_a_batch": 1 / (modalities * ways),
                "uniform_subset": 1 / (2**modalities - 1),
                "complete_else_count": 1 - p if full else p / (max(1, modalities - 1) * ways),
                "pattern_table": 1 - p
                if full
                else one_less * (p / modalities if target is None else p * (not mask[target or 0])),
            }[law]
        )
    return np.array(out)


def assert_follows(keep: np.ndarray, expected: np.ndarray) -> None:
    assert math.isclose(expected.sum(), 1.0)
    observed = np.bincount(subset_index(keep), minlength=len(expected))
    assert not observed[expected == 0].any()
    possible = expected > 0
    if possible.sum() > 1:
        assert chisquare(observed[possible], len(keep) * expected[possible]).pvalue > 1e-3


@pytest.mark.parametrize("law", A_SEGMENT)
@pytest.mark.parametrize(("modalities", "p"), [(2, 0.5), (3, 0.25), (3, 0.5), (4, 0.8)])
@pytest.mark.parametrize("target", [1, None])
def test_frequencies_follow_the_law(law: str, modalities: int, p: float, target: int | None) -> None:
    if law == "target_only" and target is None:
        target = 0
    keep = draw_masks(law, np.ones((N, modalities), bool), KEYS, 7, 3, p, target)
    assert_follows(keep, law_probabilities(law, modalities, p, target))


@pytest.mark.parametrize("law", A_BATCH)
@pytest.mark.parametrize("modalities", [2, 3])
def test_frequencies_over_batches_follow_the_law(law: str, modalities: int) -> None:
    """One segment of each batch: within a batch they are not independent."""
    present = np.ones((2, modalities), bool)
    keep = np.array([draw_masks(law, present, KEYS[step : step + 2], 7, 3, 0.0, None, step)[0] for step in range(6000)])
    assert_follows(keep, law_probabilities(law, modalities, 0.0, None))


def test_what_is_drawn_once_a_batch_is_the_same_within_it() -> None:
    present = np.ones((64, 3), bool)
    sizes, sets = set(), set()
    for step in range(40):
        counted = draw_masks("uniform_count_a_batch", present, KEYS[:64], 0, 0, 0.0, None, step)
        (size,) = set(counted.sum(axis=1).tolist())  # |S| is the batch's, which ones is each segment's own
        assert len(np.unique(counted, axis=0)) == (1 if size == 3 else 3)
        (chosen,) = np.unique(draw_masks("uniform_set_a_batch", present, KEYS[:64], 0, 0, 0.0, None, step), axis=0)
        sizes.add(size)
        sets.add(tuple(chosen))
    assert sizes == {1, 2, 3}
    assert len(sets) == 7


@pytest.mark.parametrize("law", A_BATCH)
def test_a_law_of_batches_must_be_told_which(law: str) -> None:
    with pytest.raises(ConfigError, match=f"the law {law} draws once a batch"):
        draw_masks(law, np.ones((2, 3), bool), KEYS[:2], 0, 0, 0.0, None)


@pytest.mark.parametrize("law", A_SEGMENT)
def test_draws_depend_on_seed_epoch_and_segment_alone(law: str) -> None:
    present = np.ones((N, 3), bool)
    keep = draw_masks(law, present, KEYS, 0, 0, 0.5, 0)
    order = np.random.default_rng(0).permutation(N)[:1000]
    for size in (1, 7, 1000):  # any batch size, any order, any step
        batches = [order[i : i + size] for i in range(0, 200 if size < 1000 else 1000, size)]
        for step, rows in enumerate(batches):
            assert (draw_masks(law, present[rows], KEYS[rows], 0, 0, 0.5, 0, step) == keep[rows]).all()
    assert (draw_masks(law, present, KEYS, 0, 1, 0.5, 0) != keep).any() == (law not in FIXED)
    if law != "none":
        assert (draw_masks(law, present, KEYS, 1, 0, 0.5, 0) != keep).any()


@pytest.mark.parametrize("law", LAWS)
def test_nothing_absent_is_kept_and_nothing_is_emptied(law: str) -> None:
    patterns = np.array(list(itertools.product([False, True], repeat=3)))
    present = np.tile(patterns, (N // 8, 1))
    for step in range(3):
        keep = draw_masks(law, present, KEYS, 0, step, 0.9, 2, step)
        assert not (keep & ~present).any()
        assert (keep.any(axis=1) == present.any(axis=1)).all()


@pytest.mark.parametrize("law", ["bernoulli_keep_one", "uniform_count", "uniform_subset", "complete_else_count"])
def test_incomplete_segments_are_drawn_over_what_they_have(law: str) -> None:
    """As if the absent modality had never existed: the law of M = 2 on the two others."""
    present = np.tile([True, False, True], (N, 1))
    keep = draw_masks(law, present, KEYS, 0, 0, 0.4, None)
    assert_follows(keep[:, [0, 2]], law_probabilities(law, 2, 0.4, None))


@pytest.mark.parametrize("law", ["target_only", "pattern_table"])
def test_laws_of_patterns_leave_incomplete_segments_alone(law: str) -> None:
    present = np.tile([True, False, True], (N, 1))
    assert (draw_masks(law, present, KEYS, 0, 0, 0.9, 0) == present).all()


def test_windows_lack_one_modality_at_most() -> None:
    """MacJEPA: full with 1 - p, each of M with p / M, every window on its own."""
    keep = windows(np.ones((N, 2), bool), KEYS, 0, 0, 0.7, 9)
    assert keep.shape == (N, 9, 2)
    full, single = np.array([0.3]), np.array([0.35, 0.35])
    for w in (0, 8):
        assert_follows(keep[:, w], np.concatenate([single, full]))
    both = np.bincount(keep[:, 0].all(axis=1) * 2 + keep[:, 1].all(axis=1), minlength=4)
    assert chisquare(both, N * np.array([0.49, 0.21, 0.21, 0.09])).pvalue > 1e-3
    lone = windows(np.tile([True, False], (50, 1)), KEYS[:50], 0, 0, 1.0, 3)
    assert lone[:, :, 0].all()
    assert not lone[:, :, 1].any()


def test_every_law_can_be_asked_for() -> None:
    assert tuple(LAWS) == config.LAWS


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
