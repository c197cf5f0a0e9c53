"""Shares of a run as whole epochs."""

from collections.abc import Callable

import pytest

from mmcache.fuse.options.resolve import resolve_options
from mmcache.fuse.strategies.base import first_epochs, later_epochs


def epochs(strategy: str, count: int, **options: object) -> dict[str, str]:
    """What is special of every epoch: x where it is."""
    made = resolve_options(strategy, {"test": {"epochs": count, **options}})
    phases = [made.components.strategy.phase(made, epoch) for epoch in range(count)]
    found = {
        "unlabelled": [phase.unlabelled for phase in phases],
        "keeps_all": [phase.keeps_all for phase in phases],
        "episodes": [phase.episodes is not None for phase in phases],
    }
    return {name: "".join(".x"[each] for each in values) for name, values in found.items()}


@pytest.mark.parametrize("strategy", ["zeros", "dropout", "mmg"])
def test_without_shares_no_epoch_is_special(strategy: str) -> None:
    assert epochs(strategy, 3) == {"unlabelled": "...", "keeps_all": "...", "episodes": "..."}


def test_shares_are_rounded_up_from_the_end_they_count_from() -> None:
    found = epochs("mmg", 10, align_share=0.25, meta_share=0.3, prototypes=1.0, full_share=0.35)
    assert found == {"unlabelled": "xxx.......", "keeps_all": "xxxx......", "episodes": ".......xxx"}


def test_a_short_run_keeps_an_epoch_for_the_rest() -> None:
    short = epochs("mmg", 2, align_share=0.9, full_share=0.9)
    assert (short["unlabelled"], short["keeps_all"]) == ("x.", "x.")
    assert epochs("mmg", 1, full_share=0.9)["keeps_all"] == "."


@pytest.mark.parametrize(
    ("share", "count", "first"), [(0.0, 3, 0), (0.05, 10, 1), (0.05, 1, 0), (0.5, 5, 3), (0.99, 4, 3)]
)
def test_first_and_later_epochs_are_all_of_them(share: float, count: int, first: int) -> None:
    """MMANet's margin: the losses that compare with the teacher count in the later epochs."""
    options = resolve_options("mmanet", {"test": {"epochs": count}})
    assert first_epochs(share, options) == range(first)
    assert later_epochs(share, options) == range(first, count)


@pytest.mark.parametrize(("count", "margin", "expected"), [(3, 0.0, "xxx"), (10, 0.05, ".xxxxxxxxx"), (1, 0.05, "x")])
def test_the_margin_of_mmanet(
    count: int, margin: float, expected: str, small_model: Callable, small_trainee: Callable
) -> None:
    trainee = small_trainee("mmanet", small_model("mmanet"), epochs=count, margin_share=margin)
    for name in ("mad", "mar"):
        counts = [name in [term.name for term in trainee.counting(epoch)] for epoch in range(count)]
        assert "".join(".x"[each] for each in counts) == expected
