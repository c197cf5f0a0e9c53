"""The invariants of MMANet (methods.md 3.10)."""

import math
from collections.abc import Callable

import pandas as pd
import pytest
import torch

from mmcache.fuse.data.subsets import subset_name, subsets
from mmcache.fuse.parts.losses.mad import margin_aware, prediction_entropy
from mmcache.fuse.parts.losses.mar import WeakCombinations

GENERATOR = torch.Generator().manual_seed(0)
FEATURES = torch.randn(6, 5, generator=GENERATOR)
ENTROPY = torch.rand(6, generator=GENERATOR)
KNOWN = torch.ones(6, dtype=torch.bool)
NAMES = ["audio", "imu", "rgb"]
MASKS = torch.from_numpy(subsets(3))


@pytest.mark.holds("mmanet", "3.10 MAD is 0 for scaled features")
@pytest.mark.parametrize("scale", [1.0, 0.01, 50.0])
def test_relations_do_not_see_scale(scale: float) -> None:
    assert float(margin_aware(scale * FEATURES, FEATURES, ENTROPY, KNOWN)) < 1e-10


def test_relations_are_weighted_by_uncertainty_of_rows_or_of_columns() -> None:
    other = torch.randn(6, 9, generator=GENERATOR)
    relations = [torch.nn.functional.normalize(f @ f.T, dim=1) for f in (FEATURES, other)]
    apart, weight = (relations[0] - relations[1]).square(), ENTROPY / ENTROPY.sum()
    rows = sum(weight[i] * apart[i].sum() for i in range(6))
    columns = sum(weight[j] * apart[:, j].sum() for j in range(6))
    torch.testing.assert_close(margin_aware(FEATURES, other, ENTROPY, KNOWN), rows)
    torch.testing.assert_close(margin_aware(FEATURES, other, ENTROPY, KNOWN, by="columns"), columns)


def test_segments_the_teacher_has_not_seen_count_for_nothing() -> None:
    other, known = torch.randn(6, 9, generator=GENERATOR), torch.arange(6) < 4
    expected = margin_aware(FEATURES[:4], other[:4], ENTROPY[:4], known[:4])
    other[4:] = math.nan
    torch.testing.assert_close(margin_aware(FEATURES, other, torch.where(known, ENTROPY, math.nan), known), expected)
    assert float(margin_aware(FEATURES, other, ENTROPY, torch.arange(6) < 1)) == 0.0


def test_entropy_is_summed_over_tasks() -> None:
    flat = {"verb": torch.zeros(2, 3), "noun": torch.zeros(2, 4)}
    torch.testing.assert_close(prediction_entropy(flat), torch.full((2,), math.log(3) + math.log(4)))


def weak_with(odd_one: int) -> WeakCombinations:
    """Predictions that agree for all combinations but one."""
    pieces = []
    for i, mask in enumerate(MASKS):
        predicted = [2] * 12 if i == odd_one else [0, 1, 2] * 4
        pieces.append(pd.DataFrame({"subset": subset_name(mask.numpy(), NAMES), "verb_pred": predicted}))
    weak = WeakCombinations(NAMES, {"verb": 3}, 5)
    weak.gather(pd.concat(pieces))
    return weak


@pytest.mark.parametrize("odd_one", range(6))
def test_the_combination_that_strays_is_weak_with_its_single_modalities(odd_one: int) -> None:
    expected = {odd_one} | {(1 << m) - 1 for m in range(3) if MASKS[odd_one, m]}
    assert set(weak_with(odd_one).weak.nonzero().flatten().tolist()) == expected


@pytest.mark.holds("mmanet", "3.10 MAR is 0 if no segment has a weak mask")
def test_only_weak_segments_count_and_they_are_shared_by_the_whole_batch() -> None:
    weak = weak_with(0)  # audio alone
    labels = {"verb": torch.tensor([0, 1, 2, 0, 1, 2])}
    strong = MASKS[1:7]
    assert float(weak(FEATURES, labels, strong).detach()) == 0.0
    kept = strong.clone()
    kept[3] = MASKS[0]
    expected = torch.nn.functional.cross_entropy(weak.heads["task_verb"](FEATURES[3:4]), labels["verb"][3:4]) / 6
    torch.testing.assert_close(weak(FEATURES, labels, kept), expected)


def test_before_anything_was_gathered_nothing_is_weak() -> None:
    weak = WeakCombinations(NAMES, {"verb": 3}, 5)
    assert float(weak(FEATURES, {"verb": torch.zeros(6, dtype=torch.long)}, MASKS[:6]).detach()) == 0.0


def test_margins_begin_after_the_first_share_of_the_run(
    small_model: Callable, small_trainee: Callable, random_batch
) -> None:
    trainee = small_trainee("mmanet", small_model("mmanet"))
    parts = [set(trainee.losses(random_batch.batch(), random_batch.present.numpy(), e)) for e in (0, 1)]
    assert parts == [{"loss", "ce"}, {"loss", "ce", "mad", "mar"}]


def test_histograms_may_go_through_a_softmax_as_in_the_code() -> None:
    """They are shares already: a softmax makes them nearly alike, and the divergence small."""
    table = pd.DataFrame(
        [
            {"subset": subset_name(mask.numpy(), NAMES), "verb_pred": 2 if i == 3 else 0}
            for i, mask in enumerate(MASKS)
            for _ in range(12)
        ]
    )
    plain, code = (WeakCombinations(NAMES, {"verb": 3}, 5, softmax) for softmax in (False, True))
    plain.gather(table)
    code.gather(table)
    p, q = (torch.tensor(x).softmax(dim=0) for x in ([0.0, 0.0, 1.0], [1.0, 0.0, 0.0]))
    assert float(code.divergence[3]) == pytest.approx(float((p * (p / q).log()).sum()), abs=1e-5)
    assert float(plain.divergence[3]) > 10
    assert torch.equal(plain.weak, code.weak)
