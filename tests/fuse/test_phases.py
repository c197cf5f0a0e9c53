"""Shares of a run as whole epochs."""

import pytest

from mmcache.fuse import phases
from mmcache.fuse.config import make_config

NAMES = ("only_aligns", "keeps_everything", "is_meta", "has_margin")


def epochs(strategy: str, count: int, **options) -> dict[str, str]:
    """Each question, answered for every epoch: x where yes."""
    config = make_config(strategy, {"test": {"epochs": count, **options}})
    return {name: "".join(".x"[getattr(phases, name)(config, epoch)] for epoch in range(count)) for name in NAMES}


def test_without_shares_nothing_is_special() -> None:
    assert epochs("zeros", 3, margin_share=0.0) == {
        "only_aligns": "...",
        "keeps_everything": "...",
        "is_meta": "...",
        "has_margin": "xxx",
    }


def test_shares_are_rounded_up_from_the_end_they_count_from() -> None:
    found = epochs("mmg", 10, align_share=0.25, meta_share=0.3, prototypes=1.0, full_share=0.35, margin_share=0.05)
    assert found == {
        "only_aligns": "xxx.......",
        "keeps_everything": "xxxx......",
        "is_meta": ".......xxx",
        "has_margin": ".xxxxxxxxx",
    }


@pytest.mark.parametrize("name", ["only_aligns", "keeps_everything"])
def test_a_short_run_keeps_an_epoch_for_the_rest(name: str) -> None:
    assert epochs("mmg", 2, align_share=0.9, full_share=0.9)[name] == "x."
    assert epochs("mmg", 1, full_share=0.9)[name] == "."
    assert epochs("zeros", 1)["has_margin"] == "x"
