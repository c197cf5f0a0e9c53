"""Which runs train as one."""

from collections.abc import Callable
from typing import Any

import pytest

from mmcache.fuse.options.options import Options
from mmcache.fuse.packing import pack_groups, why_alone


def test_seeds_rates_and_weights_may_differ_and_shapes_may_not(small_options: Callable[..., Options]) -> None:
    base: dict[str, Any] = {"alpha": 0.7}
    alike = [
        small_options("karmma", **{**base, **own})
        for own in ({}, {"seed": 3}, {"lr": 1e-3}, {"drop": 0.2}, {"alpha": 0.5}, {"weight_decay": 0.2, "clip": 0.0})
    ]
    others = [
        small_options("karmma", **{**base, **own})
        for own in ({"width": 32}, {"depth": 1}, {"k": 7}, {"epochs": 9}, {"alpha": 1.0}, {"label_smoothing": 0.1})
    ]
    groups = pack_groups([(options, 1) for options in [*alike, *others]])
    assert groups[0] == list(range(len(alike)))
    assert groups[1:] == [[len(alike) + i] for i in range(len(others))]


def test_a_weight_of_zero_is_other_code(small_options: Callable[..., Options]) -> None:
    weights = [0.2, 0.4, 0.0]
    assert pack_groups([(small_options("cmpt", reconstruction=weight), 0) for weight in weights]) == [[0, 1], [2]]


def test_groups_have_a_largest_size(small_options: Callable[..., Options]) -> None:
    runs = [(small_options("dropout", seed=seed), 0) for seed in range(5)]
    assert pack_groups(runs, 2) == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"patience": 2}, "early stopping"),
        ({"accumulate": 2}, "accumulated"),
        ({"class_weights": "root"}, "class weights"),
        ({"prototypes": 1.0, "meta_share": 0.5}, "episodes"),
    ],
)
def test_what_trains_alone_says_why(options: dict[str, Any], reason: str, small_options: Callable) -> None:
    run = small_options("mmg", **options)
    assert reason in (why_alone(run) or "")
    assert pack_groups([(run, 0), (run, 0)]) == [[0], [1]]
