"""What --target and --drop make of a strategy: they are refused where nothing is dropped, and change no other run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcache.fuse.data.samplers import SAMPLERS, RateOptions
from mmcache.fuse.options.recipes import recipe_layers
from mmcache.fuse.options.resolve import resolve_options
from mmcache.fuse.strategies import STRATEGIES
from mmcache.store import ConfigError


def own_sampler(strategy: str) -> str:
    """The sampler of a strategy by its published recipe."""
    layers = recipe_layers(STRATEGIES[strategy], "published")
    return next((layer["sampler"] for layer in layers.values() if "sampler" in layer), "none")


CONTROLS = [name for name in STRATEGIES if own_sampler(name) == "none"]
WITH_RATE = [name for name, sampler in SAMPLERS.items() if issubclass(sampler.Options, RateOptions)]
WITH_TARGET = [name for name, sampler in SAMPLERS.items() if sampler.takes_target]


@pytest.mark.parametrize("strategy", CONTROLS)
@pytest.mark.parametrize("asked", [{"target": "rgb"}, {"drop": 0.25}, {"target": "rgb", "drop": 0.25}])
def test_what_drops_nothing_takes_neither_rate_nor_target(strategy: str, asked: dict) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_options(strategy, {"flags": asked})
    for name in asked:
        assert f"{name} is not used: {strategy} draws its masks by the sampler none, which has no {name}" in str(
            caught.value
        )
    plain = resolve_options(strategy, {})
    assert (plain.masks.sampler, plain.target, plain.drop) == ("none", None, 0.0)


def test_the_controls_are_those_that_drop_nothing() -> None:
    assert set(CONTROLS) == {"zeros", "skip", "midl", "radevski"}


@pytest.mark.parametrize("strategy", [name for name in STRATEGIES if name not in CONTROLS])
def test_a_target_is_the_one_that_is_dropped(strategy: str) -> None:
    """MAP keeps its fixed table, which has a target of its own; all others take MMT's sampler."""
    options = resolve_options(strategy, {"flags": {"target": "rgb", "drop": 0.25}})
    fixed = own_sampler(strategy) == "pattern_table"
    expected = "pattern_table" if fixed else "target_only"
    assert (options.masks.sampler, options.target, options.drop) == (expected, "rgb", 0.25)


def test_p_0_is_allowed_where_it_is_asked_for() -> None:
    options = resolve_options("mmt", {"flags": {"target": "audio", "drop": 0}})
    assert (options.masks.sampler, options.target, options.drop) == ("target_only", "audio", 0.0)


def test_a_strategy_without_a_rate_of_its_own_is_asked_for_one() -> None:
    with pytest.raises(ConfigError, match=r"--target rgb needs --drop P: actionmae has no rate of its own"):
        resolve_options("actionmae", {"flags": {"target": "rgb"}})
    assert resolve_options("mmt", {"flags": {"target": "rgb"}}).drop == 0.25


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name not in ("none", *WITH_TARGET)])
def test_a_sampler_without_a_target_is_not_given_one(sampler: str) -> None:
    with pytest.raises(ConfigError, match=f"target is not used: dropout draws its masks by the sampler {sampler}"):
        resolve_options("dropout", {"flags": {"target": "rgb", "sampler": sampler}})


@given(st.sampled_from(sorted(STRATEGIES)), st.sampled_from(sorted(SAMPLERS)), st.floats(0.01, 0.99))
def test_a_rate_makes_another_run_where_a_sampler_reads_it_and_is_refused_elsewhere(
    strategy: str, sampler: str, drop: float
) -> None:
    if sampler == "target_only":
        return
    flags = {"sampler": sampler, "drop": drop}
    if sampler not in WITH_RATE:
        with pytest.raises(ConfigError, match=f"the sampler {sampler}, which has no drop"):
            resolve_options(strategy, {"f": flags})
        return
    one, other = (resolve_options(strategy, {"f": {**flags, "drop": p}}).identity("s") for p in (drop, 0.5))
    assert (one == other) == (drop == 0.5)
