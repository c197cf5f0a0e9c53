"""Recipes: what a run takes where nothing else is said.

published  each strategy as its paper has it
matched    one network, head, regularisers, optimiser, mask sampler and rate for all strategies, so that what differs is
           the idea of each; what a strategy cannot do without (Strategy.idea) is kept
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmcache.fuse.strategies.base import Strategy

PUBLISHED, MATCHED = RECIPES = ("published", "matched")
# What reports say of methods that were trained with a recipe.
MEANINGS = {
    PUBLISHED: "each strategy as its paper has it, so that methods differ in network and schedule too",
    MATCHED: "one network, head, regularisers, optimiser and masks, so that methods differ in their ideas alone",
}
# The network and optimiser are the defaults; the masks are those of modality dropout.
MATCHED_OPTIONS: dict[str, Any] = {"sampler": "bernoulli_keep_one", "drop": 0.5}


def recipe_layers(strategy: "type[Strategy]", recipe: str) -> dict[str, dict[str, Any]]:
    """Where the values come from -> option -> value, later ones winning."""
    idea = {"the strategy's idea": dict(strategy.idea)}
    if recipe == MATCHED:
        return {"the matched recipe": MATCHED_OPTIONS, **idea}
    return {**idea, "the published recipe": dict(strategy.published)}
