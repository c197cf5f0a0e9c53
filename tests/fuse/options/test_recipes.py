"""What recipes set is read by the runs that are made of them."""

import pytest

from mmcache.fuse.options.recipes import MATCHED, MATCHED_OPTIONS, PUBLISHED, RECIPES, recipe_layers
from mmcache.fuse.options.resolve import resolve_options
from mmcache.fuse.options.shared import SHARED
from mmcache.fuse.strategies import STRATEGIES
from mmcache.store import ConfigError

DROPS_NOTHING = [name for name, each in STRATEGIES.items() if each.idea.get("sampler") == "none"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_value_of_the_published_recipe_is_read(strategy: str) -> None:
    layers = recipe_layers(STRATEGIES[strategy], PUBLISHED)
    asked = {name: value for layer in layers.values() for name, value in layer.items()}
    assert asked == {**STRATEGIES[strategy].idea, **STRATEGIES[strategy].published}
    assert not set(STRATEGIES[strategy].idea) & set(STRATEGIES[strategy].published), "one of the two is not used"
    found = resolve_options(strategy, {}, PUBLISHED).flat()
    assert {name: found.get(name) for name in asked} == asked


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_value_of_the_matched_recipe_is_read(strategy: str) -> None:
    """A strategy whose idea is to drop nothing has no rate; no other part of the recipe goes unread."""
    idea = STRATEGIES[strategy].idea
    asked = {**MATCHED_OPTIONS, **idea}
    found = resolve_options(strategy, {}, MATCHED).flat()
    unread = [name for name in asked if name not in found]
    assert unread == (["drop"] if strategy in DROPS_NOTHING else [])
    assert all(found[name] == value for name, value in asked.items() if name in found)


def test_the_controls_drop_nothing_in_both_recipes() -> None:
    assert {"zeros", "skip", "midl"} == set(DROPS_NOTHING)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_matched_runs_differ_in_their_idea_alone(strategy: str) -> None:
    """Network, optimiser, regularisers and masks are those of a run without a recipe, short of the strategy's idea."""
    plain = {f.name: f.default for kind in SHARED.values() for f in kind.__dataclass_fields__.values()}
    plain |= MATCHED_OPTIONS
    options = resolve_options(strategy, {}, MATCHED)
    for section, field, value in options.items():
        if section in SHARED and field.name in plain and isinstance(field.default, (int, float, str, bool)):
            assert value == STRATEGIES[strategy].idea.get(field.name, plain[field.name]), field.name


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_resolves_by_every_recipe(strategy: str, recipe: str) -> None:
    options = resolve_options(strategy, {}, recipe)
    assert (options.strategy, options.recipe) == (strategy, recipe)
    assert (options.teacher is not None) == (STRATEGIES[strategy].teacher is not None)


def test_an_unknown_recipe_gets_a_hint() -> None:
    with pytest.raises(ConfigError, match=r"unknown recipe 'publishd'\. Did you mean 'published'"):
        resolve_options("zeros", {}, "publishd")
