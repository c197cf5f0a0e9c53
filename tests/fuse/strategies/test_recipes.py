"""Recipes: `published` has the figures of the papers, `matched` gives every strategy the same but its idea."""

import dataclasses
from typing import Any

import pytest

from mmcache.fuse.options.options import Options
from mmcache.fuse.options.recipes import MATCHED, MATCHED_OPTIONS, PUBLISHED, RECIPES
from mmcache.fuse.options.resolve import resolve_options
from mmcache.fuse.strategies import STRATEGIES

every_strategy = pytest.mark.parametrize("strategy", STRATEGIES)
# The figures that a paper prints and that a run over frozen tokens can keep (methods.md section 3).
PRINTED: dict[str, dict[str, Any]] = {
    "dropout": {"drop": 0.5},
    "moddrop": {"drop": 0.5},
    "mmt": {"drop": 0.25, "label_smoothing": 0.3, "token_dropout": 0.3},
    "actionmae": {
        "reconstruction": 1.0, "label_smoothing": 0.1, "memory": 1, "autoencoder_depth": 2, "pool_depth": 2, "heads": 8,
        "ffn_ratio": 4.0, "lr": 1e-4, "weight_decay": 1e-4, "batch_size": 32,
    },
    "map": {"drop": 0.7, "prompt_length": 16, "prompt_layers": 6, "weight_decay": 0.02, "epochs": 20, "warmup": 0.1},
    "map-attention": {"drop": 0.7, "prompt_length": 16, "prompt_layers": 6},
    "shaspec": {"shared": 0.1, "specific": 0.02},
    "compass": {
        "drop": 0.7, "reconstruction": 0.2, "vicreg": 0.3, "vicreg_terms": (25.0, 25.0, 1.0), "label_smoothing": 0.1,
        "heads": 4, "proxy_dropout": 0.1, "head_dropout": 0.3, "lr": 1e-4, "weight_decay": 5e-4, "epochs": 20,
        "batch_size": 32,
    },
    "cmpt": {"reconstruction": 0.2},
    "macjepa": {
        "drop": 0.7, "depth": 6, "heads": 8, "ffn_ratio": 2.0, "label_smoothing": 0.1, "lr": 3e-4,
        "weight_decay": 1e-4, "epochs": 50, "warmup": 0.04,
    },
    "karmma-teacher": {
        "drop": 0.5, "width": 768, "depth": 2, "heads": 8, "attention_dropout": 0.3, "ffn_ratio": 1.0,
        "weight_decay": 0.05, "clip": 1.0, "epochs": 100, "warmup": 0.1, "batch_size": 32, "k": 300,
    },
    "karmma": {
        "drop": 0.5, "width": 384, "depth": 1, "attention_dropout": 0.0, "alpha": 0.7, "temperature": 1.0,
        "weight_decay": 0.01, "clip": 2.0, "epochs": 100, "warmup": 0.1,
    },
    "radevski": {
        "alpha": 0.0, "temperature": 1.0, "ensemble_temperature": 1.0, "lr": 1e-4, "weight_decay": 0.02, "epochs": 30,
        "warmup": 0.1, "clip": 5.0,
    },
    "mmanet": {"mad": 30.0, "mar": 0.5, "margin_share": 0.05, "epochs": 100},
    "mmg": {"align": 1.0, "align_temperature": 0.07, "ways": 5, "shots": 5, "drop": 0.5},
    "midl": {"adapt_lr": 2.5e-4, "midl_information": 3.0, "midl_distance": 3.0},
}  # fmt: skip
# Sections that all strategies share; `run` and `teacher` say where a run lies and what it learns from.
SHARED = ("data", "network", "masks", "sampler", "fusion", "head", "pool", "optimiser")


def shared_options(options: Options) -> dict[str, Any]:
    return {name: value for section in SHARED for name, value in dataclasses.asdict(getattr(options, section)).items()}


@pytest.mark.parametrize("strategy", PRINTED)
def test_the_published_recipe_has_the_figures_that_the_paper_prints(strategy: str) -> None:
    options = resolve_options(strategy, {}, PUBLISHED).flat()
    assert {name: options[name] for name in PRINTED[strategy]} == PRINTED[strategy]


@every_strategy
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_run_reads_every_option_of_its_recipe(strategy: str, recipe: str) -> None:
    """No recipe sets an option that its own choice of parts leaves without a reader."""
    options, of = resolve_options(strategy, {}, recipe), STRATEGIES[strategy]
    masks = MATCHED_OPTIONS if "sampler" not in of.idea else {}
    expected = {**(masks if recipe == MATCHED else of.published), **of.idea}
    assert {name: options.flat().get(name, "not an option") for name in expected} == expected


@every_strategy
def test_the_published_recipe_leaves_the_idea_as_it_is(strategy: str) -> None:
    assert not set(STRATEGIES[strategy].published) & set(STRATEGIES[strategy].idea)


@every_strategy
def test_under_the_matched_recipe_strategies_differ_in_their_ideas_alone(strategy: str) -> None:
    """One network, head, optimiser, mask sampler and rate; the options of a strategy's own parts come on top."""
    own, plain = (shared_options(resolve_options(name, {}, MATCHED)) for name in (strategy, "dropout"))
    differing = {name for name in own.keys() | plain.keys() if own.get(name) != plain.get(name)}
    if "sampler" in STRATEGIES[strategy].idea:  # a strategy that drops nothing has no rate
        differing -= {"drop", "full_share"}
    assert differing <= {name for name, value in STRATEGIES[strategy].idea.items() if plain.get(name) != value}


def test_published_recipes_differ_in_more_than_that() -> None:
    """Which is why conclusions about ideas come from the matched one."""
    own, plain = (shared_options(resolve_options(name, {}, PUBLISHED)) for name in ("mmt", "dropout"))
    assert {"head", "label_smoothing", "positions", "drop"} <= {name for name in plain if own.get(name) != plain[name]}


@every_strategy
def test_controls_lead_to_zeros(strategy: str) -> None:
    passed: list[str] = []
    current: str | None = strategy
    while current is not None:
        assert current not in passed
        passed.append(current)
        current = STRATEGIES[current].control
    assert passed[-1] == "zeros"
