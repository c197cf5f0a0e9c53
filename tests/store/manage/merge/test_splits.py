"""Splits of merged parts: one name each, and results on the split that a single store of all would report."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from mmcache.store.ground.errors import StoreMismatchError
from mmcache.store.manage.merge import merge_stores

MakePart = Callable[..., Path]
NONE: dict[str, list[int]] = {}  # no tokens


@pytest.fixture
def merged(
    make_part: MakePart, make_segments: Callable[[int], pd.DataFrame], make_folder: Callable[[], Path]
) -> Callable:
    """Merges parts of two segments each, given as (splits, the split it says results are on)."""

    def run(*parts: tuple[list[str], str]) -> tuple[dict[str, int], str]:
        table, made = make_segments(2 * len(parts)), []
        for number, (splits, stated) in enumerate(parts):
            own = table.iloc[2 * number : 2 * number + 2].reset_index(drop=True).assign(split=splits)
            made.append(make_part(NONE, own, meta={"eval_split": stated}))
        store = merge_stores(made, make_folder() / "one.zarr")
        return store.meta.splits, store.meta.eval_split

    return run


@pytest.mark.parametrize(
    ("parts", "splits", "reported"),
    [
        pytest.param([(["train"] * 2, ""), (["train", "test"], "test")], {"test": 1, "train": 3}, "test", id="open"),
        pytest.param([(["train"] * 2, "train"), (["val"] * 2, "val")], {"train": 2, "val": 2}, "val", id="old code"),
        pytest.param(
            [(["train", "validation"], "validation"), (["test"] * 2, "test")],
            {"test": 2, "train": 1, "validation": 1},
            "test",
            id="neither is stated",
        ),
        pytest.param(
            [(["test", "validation"], "validation"), (["train"] * 2, "")],
            {"test": 1, "train": 2, "validation": 1},
            "validation",
            id="a data set reports on validation although it has test",
        ),
        pytest.param(
            [(["train", "val"], "val"), (["Training", "validation"], "validation")],
            {"train": 2, "validation": 2},
            "validation",
            id="two names",
        ),
        pytest.param([(["train", "a"], "a"), (["b"] * 2, "b")], {"a": 1, "b": 2, "train": 1}, "", id="left open"),
    ],
)
def test_the_split_of_results_is_that_of_all_parts_together(
    merged: Callable, parts: list[tuple[list[str], str]], splits: dict[str, int], reported: str
) -> None:
    assert merged(*parts) == (splits, reported)


def test_data_sets_that_report_on_different_splits_are_refused(merged: Callable) -> None:
    with pytest.raises(StoreMismatchError, match=r"report results on different splits: .* on 'validation', .* on 'a'"):
        merged((["test", "validation"], "validation"), (["test", "a"], "a"))
