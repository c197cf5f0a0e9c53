"""Sensors missing for a part of a segment: which tokens go, and that the ends are what they should be."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mmcache.fuse import Model, evaluate
from mmcache.fuse.data.eligible import evaluated_rows
from mmcache.fuse.evaluation.windows import leave_out, window_curves
from mmcache.store import ConfigError, FeatureStore


def test_what_is_left_moves_up_in_order() -> None:
    tokens = torch.arange(2 * 8, dtype=torch.float32).reshape(2, 8, 1)
    ranks = torch.tensor([[2, 0, 3, 1], [0, 1, 2, 3]])
    lengths = torch.tensor([8, 4])  # the second has 4 tokens, one a window
    moved, left = leave_out(tokens, lengths, ranks, 2)
    assert left.tolist() == [4, 2]
    assert moved[0, :4, 0].tolist() == [0, 1, 4, 5]  # windows 1 and 3 have the ranks 0 and 1
    assert moved[1, :2, 0].tolist() == [10, 11]
    assert leave_out(tokens, lengths, ranks, 0)[1].tolist() == [8, 4]
    assert leave_out(tokens, lengths, ranks, 4)[1].tolist() == [0, 0]


@pytest.mark.holds("shared", "1.8 the windows that a segment lacks are nested")
def test_less_is_left_of_what_was_left() -> None:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.rand(30, 13, 2, generator=generator)
    lengths = torch.randint(1, 14, (30,), generator=generator)
    ranks = torch.stack([torch.randperm(5, generator=generator) for _ in range(30)])
    before = None
    for missing in range(6):
        moved, left = leave_out(tokens, lengths, ranks, missing)
        rows = [{tuple(token.tolist()) for token in moved[i, : left[i]]} for i in range(30)]
        assert before is None or all(now <= then for now, then in zip(rows, before, strict=True))
        before = rows


def test_the_ends_are_all_of_it_and_none_of_it(run: Path, store_path: Path) -> None:
    model, store = Model.load(run), FeatureStore.open(store_path)
    rows = evaluated_rows(store, "validation", store.modalities)
    found = window_curves(model, store, rows, 8, windows=4)
    whole = evaluate(run)["subsets"]
    without = {"audio": "imu+rgb", "imu": "audio+rgb", "rgb": "audio+imu"}
    for name, rest in without.items():
        for task, curve in found[name].items():
            assert list(curve) == ["0", "25", "50", "75", "100"]
            assert curve["0"] == pytest.approx(whole["audio+imu+rgb"][task]["top1"])
            assert curve["100"] == pytest.approx(whole[rest][task]["top1"])
    assert window_curves(model, store, rows[::-1].copy(), 8, windows=4) == found


def test_tokens_that_are_not_in_time_order_say_so(epic_store: Path, make_run: Callable[..., Path]) -> None:
    """Those of a spectrogram transformer go through its frequencies."""
    model, store = Model.load(make_run(store=epic_store, epochs=1)), FeatureStore.open(epic_store)
    rows = evaluated_rows(store, "validation", store.modalities)
    found = window_curves(model, store, rows, 8, windows=2)
    assert found["audio"] == "tokens of ast_demo are not in the order of time"
    assert set(found["imu"]) == set(found["rgb"]) == {"verb", "noun", "action"}


def test_positions_and_single_windows_are_refused(run: Path, make_run: Callable[..., Path], store_path: Path) -> None:
    store = FeatureStore.open(store_path)
    rows = evaluated_rows(store, "validation", store.modalities)
    with pytest.raises(ConfigError, match="--windows 1: at least 2"):
        window_curves(Model.load(run), store, rows, 8, windows=1)
    placed = make_run("mmt", epochs=1)
    with pytest.raises(ConfigError, match="learned positions"):
        window_curves(Model.load(placed), store, rows, 8, windows=4)
