"""Mask samplers against their exact distributions (methods.md 0)."""

import itertools
import math
from math import comb

import numpy as np
import pytest
from scipy.stats import chisquare

from mmcache.fuse.data.samplers import SAMPLERS, draw_masks
from mmcache.fuse.data.subsets import subset_index, subset_name, subsets
from mmcache.store.ground.errors import ConfigError
from mmcache.store.load.order import id_keys

N = 40_000
KEYS = id_keys(f"segment_{i}" for i in range(N))
A_BATCH = ("uniform_count_a_batch", "uniform_set_a_batch")
FIXED = ("none", "pattern_table")  # the same in every epoch
A_SEGMENT = [sampler for sampler in SAMPLERS if sampler not in A_BATCH]


def sampler_probabilities(sampler: str, modalities: int, p: float, target: int | None) -> np.ndarray:
    """The exact P(S) of a sampler over `subsets(modalities)`, written from methods.md."""
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
            }[sampler]
        )
    return np.array(out)


def assert_follows(keep: np.ndarray, expected: np.ndarray) -> None:
    assert math.isclose(expected.sum(), 1.0)
    observed = np.bincount(subset_index(keep), minlength=len(expected))
    assert not observed[expected == 0].any()
    possible = expected > 0
    if possible.sum() > 1:
        assert chisquare(observed[possible], len(keep) * expected[possible]).pvalue > 1e-3


@pytest.mark.holds("shared", "0 P(S) of every sampler, by chi-square")
@pytest.mark.parametrize("sampler", A_SEGMENT)
@pytest.mark.parametrize(("modalities", "p"), [(2, 0.5), (3, 0.25), (3, 0.5), (4, 0.8)])
@pytest.mark.parametrize("target", [1, None])
def test_frequencies_follow_the_sampler(sampler: str, modalities: int, p: float, target: int | None) -> None:
    if sampler == "target_only" and target is None:
        target = 0
    keep = draw_masks(sampler, np.ones((N, modalities), bool), KEYS, 7, 3, p, target)
    assert_follows(keep, sampler_probabilities(sampler, modalities, p, target))


@pytest.mark.holds("shared", "0 P(S) of every sampler, by chi-square")
@pytest.mark.parametrize("sampler", A_BATCH)
@pytest.mark.parametrize("modalities", [2, 3])
def test_frequencies_over_batches_follow_the_sampler(sampler: str, modalities: int) -> None:
    """One segment of each batch: within a batch they are not independent."""
    present = np.ones((2, modalities), bool)
    keep = np.array(
        [draw_masks(sampler, present, KEYS[step : step + 2], 7, 3, 0.0, None, step)[0] for step in range(6000)]
    )
    assert_follows(keep, sampler_probabilities(sampler, modalities, 0.0, None))


@pytest.mark.holds("shared", "0 what is drawn once a batch, and what for each segment")
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


@pytest.mark.parametrize("sampler", A_BATCH)
def test_a_sampler_of_batches_must_be_told_which(sampler: str) -> None:
    with pytest.raises(ConfigError, match="this sampler draws once a batch, and needs its number"):
        draw_masks(sampler, np.ones((2, 3), bool), KEYS[:2], 0, 0, 0.0, None)


@pytest.mark.holds("shared", "0 masks are keyed by (seed, epoch, segment id)")
@pytest.mark.holds("shared", "1.5 the pattern table is fixed for a segment and loses every modality equally often")
@pytest.mark.parametrize("sampler", A_SEGMENT)
def test_draws_depend_on_seed_epoch_and_segment_alone(sampler: str) -> None:
    present = np.ones((N, 3), bool)
    keep = draw_masks(sampler, present, KEYS, 0, 0, 0.5, 0)
    order = np.random.default_rng(0).permutation(N)[:1000]
    for size in (1, 7, 1000):  # any batch size, any order, any step
        batches = [order[i : i + size] for i in range(0, 200 if size < 1000 else 1000, size)]
        for step, rows in enumerate(batches):
            assert (draw_masks(sampler, present[rows], KEYS[rows], 0, 0, 0.5, 0, step) == keep[rows]).all()
    assert (draw_masks(sampler, present, KEYS, 0, 1, 0.5, 0) != keep).any() == (sampler not in FIXED)
    if sampler != "none":
        assert (draw_masks(sampler, present, KEYS, 1, 0, 0.5, 0) != keep).any()


@pytest.mark.holds("shared", "0 every segment keeps something, and nothing absent")
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_nothing_absent_is_kept_and_nothing_is_emptied(sampler: str) -> None:
    patterns = np.array(list(itertools.product([False, True], repeat=3)))
    present = np.tile(patterns, (N // 8, 1))
    for step in range(3):
        keep = draw_masks(sampler, present, KEYS, 0, step, 0.9, 2, step)
        assert not (keep & ~present).any()
        assert (keep.any(axis=1) == present.any(axis=1)).all()


@pytest.mark.parametrize("sampler", ["bernoulli_keep_one", "uniform_count", "uniform_subset", "complete_else_count"])
def test_incomplete_segments_are_drawn_over_what_they_have(sampler: str) -> None:
    """As if the absent modality had never existed: the sampler of M = 2 on the two others."""
    present = np.tile([True, False, True], (N, 1))
    keep = draw_masks(sampler, present, KEYS, 0, 0, 0.4, None)
    assert_follows(keep[:, [0, 2]], sampler_probabilities(sampler, 2, 0.4, None))


@pytest.mark.parametrize("sampler", ["target_only", "pattern_table"])
def test_samplers_of_patterns_leave_incomplete_segments_alone(sampler: str) -> None:
    present = np.tile([True, False, True], (N, 1))
    assert (draw_masks(sampler, present, KEYS, 0, 0, 0.9, 0) == present).all()


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
