"""A store's recommendations stand below everything a person types, and never choose what is trained or scored."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmcache.fuse.options.resolve import resolve, resolve_options
from mmcache.fuse.training.plan import PlannedRun, plan_run
from mmcache.fuse.training.stores import Stores
from mmcache.store import ConfigError
from mmcache.store.format import layout
from mmcache.store.format.recommended import RECOMMENDABLE

HOSTILE = {
    "strategy": "zeros", "handler": "zeros", "out": "/tmp/x", "eval_split": "train", "teacher": "/tmp/run",
    "init_from": "/t", "test_time": "tent", "store": "/tmp/other.zarr", "device": "cuda:7", "sampler": "none",
    "drop": 0.0, "width": 10**9, "lr": "fast", "train_modalities": ["rgb"],
}  # fmt: skip


@pytest.fixture
def recommending(store_copy: Path) -> Callable[[dict[str, Any]], Path]:
    """The store with these recommendations, put there as another program may have."""

    def write(recommended: dict[str, Any]) -> Path:
        layout.write_meta(store_copy, dataclasses.replace(layout.read_meta(store_copy), recommended=recommended))
        return store_copy

    return write


def plan(strategy: str, layers: dict[str, dict[str, Any]]) -> PlannedRun:
    return plan_run(strategy, layers, "published", Stores())


def beside(name: str, value: Any) -> dict[str, Any]:
    """What another option must be for an extreme value of this one: heads divide the width."""
    return {"width": {"heads": 1}, "heads": {"width": value}}.get(name, {})


def test_every_recommendable_option_is_one_of_fuse_and_takes_the_bounds() -> None:
    for name, kind in RECOMMENDABLE.items():
        bounds = kind.__metadata__[0].metadata
        for value in (bounds[0].ge, bounds[1].le):
            given = {name: value, **beside(name, value)}
            assert resolve_options("actionmae", {"flags": given}).flat()[name] == value


def test_a_store_cannot_choose_what_is_trained_or_scored(recommending: Callable) -> None:
    """A run named dropout was trained as zeros, and scored on train."""
    store = recommending({**HOSTILE, "epochs": 7})
    layers = {"flags": {"store": store}}
    planned = plan("dropout", layers)
    assert planned.options == resolve_options("dropout", layers).replace(epochs=7)
    assert planned.unused == {}
    assert "ignored: strategy, handler, out, eval_split, teacher, init_from and 8 more." in planned.notes[0]


@pytest.mark.parametrize("typed", [{"epochs": 3}, {"epochs": 3, "width": 64, "heads": 2}])
def test_what_a_person_types_wins(typed: dict[str, int], recommending: Callable) -> None:
    store = recommending({"epochs": 9, "width": 96, "heads": 4})
    options = plan("zeros", {"settings.yaml": typed, "flags": {"store": store}}).options.flat()
    assert {name: options[name] for name in typed} == typed
    below = plan("zeros", {"settings.yaml": {}, "flags": {"store": store}}).options
    assert (below.optimiser.epochs, below.network.width, below.network.heads) == (9, 96, 4)


def test_what_the_strategy_does_not_have_is_left_out_in_silence(recommending: Callable) -> None:
    """Recommendations are for every strategy: some of them have no such part."""
    store = recommending({"epochs": 9, "head_dropout": 0.25, "depth": 3})
    for strategy, has in (("zeros", (None, 3)), ("compass", (0.25, None))):
        planned = plan(strategy, {"flags": {"store": store}})
        found = planned.options.flat()
        assert (found.get("head_dropout"), found.get("depth")) == has
        assert found["epochs"] == 9
        assert planned.unused == {}
        assert not [note for note in planned.notes if "recommend" in note]


@pytest.mark.parametrize("strategy", ["zeros", "karmma"])
def test_recommendations_that_do_not_fit_what_is_typed_are_left_out(strategy: str, recommending: Callable) -> None:
    odd = recommending({"epochs": 9, "width": 97})
    planned = plan(strategy, {"flags": {"store": odd}})
    assert planned.options.network.width == resolve_options(strategy, {}).network.width
    assert "do not go together with these options and are left out: --width 97 is not a multiple" in planned.notes[0]


@pytest.mark.parametrize("strategy", ["zeros", "dropout"])
def test_a_strategy_is_no_option_of_a_layer(strategy: str) -> None:
    """It is named on its own, beside the layers: a settings file cannot say another one."""
    with pytest.raises(ConfigError, match="a file: unknown option 'strategy'"):
        resolve(strategy, {"a file": {"strategy": "zeros"}})
