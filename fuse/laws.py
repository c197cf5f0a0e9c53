"""Which law, rate and target a run's keep masks have. A strategy's own law decides what --drop and --target can mean.

    law in the preset            with --target M                  with --drop P
    none (zeros, skip, midl)     stays none: no mask is drawn     not used
    pattern_table (map)          stays: M is what its table lacks p of the table
    any other                    becomes target_only (MMT)        p where the law has one, else not used

An option that is not used is set back, so that two commands that train the same network are one run, and a note says
so. A law that a person names is taken as it is; a target that it cannot use is then an error.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmcache.fuse.config import FuseConfig

Layers = Mapping[str, Mapping[str, Any]]
WITH_TARGET = ("target_only", "pattern_table")
WITH_RATE = ("target_only", "bernoulli_keep_one", "complete_else_count", "pattern_table")


def settle_law(config: "FuseConfig", layers: Layers) -> list[str]:
    """Set law, drop and target to what the run trains with.

    Args:
        layers: what was asked for beyond the strategy's preset.

    Returns:
        What does not go together.
    """
    given = _given(layers)
    if config.target is not None and "law" not in given and config.law not in ("none", *WITH_TARGET):
        config.law = "target_only"
    if config.law == "none":
        config.target = None
    if config.law not in WITH_RATE:
        config.drop = 0.0
    problems = []
    if config.target is not None and config.law not in WITH_TARGET:
        problems.append(
            f"--target {config.target} with the law {config.law}, which draws among all modalities: leave one of them "
            f"out, or choose --set law={' or law='.join(WITH_TARGET)}"
        )
    if config.law == "target_only" and config.target is not None and config.drop == 0 and "drop" not in given:
        problems.append(
            f"--target {config.target} needs --drop P: {config.strategy} has no rate of its own "
            "(--drop 0 trains without dropping anything, as MMT does at p = 0)"
        )
    return problems


def unused_options(config: "FuseConfig", given: Mapping[str, Any]) -> list[str]:
    """Which of drop and target were asked for, although the law of a settled run cannot use them."""
    return [name for name in ("drop", "target") if given.get(name) and given[name] != getattr(config, name)]


def unused_masks(config: "FuseConfig", layers: Layers) -> list[str]:
    """A note that names what `unused_options` finds."""
    given = _given(layers)
    unused = " and ".join(f"--{name} {given[name]}" for name in unused_options(config, given))
    if not unused:
        return []
    law = "drops nothing in training" if config.law == "none" else f"draws its masks by {config.law}, without a rate"
    return [f"{config.strategy} {law}: {unused} not used"]


def _given(layers: Layers) -> dict[str, Any]:
    return {name: value for layer in layers.values() for name, value in layer.items()}
