"""A store's recommendations stand below everything a person types, and never choose what is trained or scored."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmcache.fuse.config import FuseConfig, make_config
from mmcache.fuse.resolve import resolve_run
from mmcache.store.format import layout
from mmcache.store.format.recommended import RECOMMENDABLE

HOSTILE = {
    "strategy": "zeros", "fill": "zeros", "out": "/tmp/x", "eval_split": "train", "teacher": "/tmp/run", "start": "/t",
    "test_time": "tent", "store": "/tmp/other.zarr", "device": "cuda:7", "law": "none", "drop": 0.0, "width": 10**9,
    "lr": "fast", "train_modalities": ["rgb"],
}  # fmt: skip


@pytest.fixture
def recommending(store_copy: Path) -> Callable[[dict[str, Any]], Path]:
    """The store with these recommendations, put there as another program may have."""

    def write(recommended: dict[str, Any]) -> Path:
        layout.write_meta(store_copy, dataclasses.replace(layout.read_meta(store_copy), recommended=recommended))
        return store_copy

    return write


def test_every_recommendable_option_is_one_of_fuse_and_takes_the_bounds() -> None:
    for name, kind in RECOMMENDABLE.items():
        bounds = kind.__metadata__[0].metadata
        for value in (bounds[0].ge, bounds[1].le):
            FuseConfig(strategy="zeros", **{name: value})


def test_a_store_cannot_choose_what_is_trained_or_scored(recommending: Callable) -> None:
    """A run named dropout was trained as zeros, and scored on train."""
    store = recommending({**HOSTILE, "epochs": 7})
    layers = {"flags": {"store": store}}
    resolved = resolve_run("dropout", layers)
    assert resolved.config == dataclasses.replace(make_config("dropout", layers), epochs=7)
    (note,) = resolved.notes
    assert "ignored: strategy, fill, out, eval_split, teacher, start and 8 more." in note


@pytest.mark.parametrize("typed", [{"epochs": 3}, {"epochs": 3, "width": 64, "heads": 2}])
def test_what_a_person_types_wins(typed: dict[str, int], recommending: Callable) -> None:
    store = recommending({"epochs": 9, "width": 96, "heads": 4})
    config = resolve_run("zeros", {"settings.yaml": typed, "flags": {"store": store}}).config
    assert {name: getattr(config, name) for name in typed} == typed
    below = resolve_run("zeros", {"settings.yaml": {}, "flags": {"store": store}}).config
    assert (below.epochs, below.width, below.heads) == (9, 96, 4)


@pytest.mark.parametrize("strategy", ["zeros", "karmma"])
def test_recommendations_that_do_not_fit_what_is_typed_are_left_out(strategy: str, recommending: Callable) -> None:
    odd = recommending({"epochs": 9, "width": 97})
    resolved = resolve_run(strategy, {"flags": {"store": odd}})
    assert resolved.config.width == make_config(strategy, {}).width
    assert "do not go together with these options and are left out: --width 97 is not a multiple" in resolved.notes[0]


def test_the_flag_of_the_strategy_wins_over_a_settings_file() -> None:
    config = make_config("dropout", {"a file": {"strategy": "zeros"}})
    assert config == make_config("dropout", {})
