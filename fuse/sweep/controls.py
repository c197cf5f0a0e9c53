"""The control of a trial: the strategy that it must be compared with, with everything else as the trial has it."""

from typing import Any

from mmcache.fuse.options.components import find
from mmcache.fuse.options.options import Options
from mmcache.fuse.parts.heads import HEADS

_EQUAL = ("data", "network", "masks", "optimiser", "run", "sampler", "fusion", "head", "pool")


def control_layers(options: Options) -> tuple[str | None, dict[str, dict[str, Any]]]:
    """The control of a run's strategy, and the options that it takes over from the run.

    What either of the two is about stays out of it (a handler, or that nothing is dropped): the control has its own
    there. All else is the run's. A head that belongs to the run's strategy alone is left out.

    Returns:
        The name of the control, None where the strategy has none; and one layer of options.
    """
    strategy = options.components.strategy
    if strategy.control is None:
        return None, {}
    idea = {"handler", *strategy.idea, *find("strategy", strategy.control)[0].idea}
    same = {
        field.name: value
        for section, field, value in options.items()
        if section in _EQUAL and field.name not in idea and field.name not in ("freeze", "init_from")
    }
    if options.network.head not in HEADS:
        same = {name: value for name, value in same.items() if name != "head"}
    return strategy.control, {f"as {options.name}": same}
