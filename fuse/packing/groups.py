"""Which runs may train as one: those whose networks have one shape and whose losses are the same code."""

from collections.abc import Sequence

from mmcache.fuse.options.options import Options


def why_alone(options: Options) -> str | None:
    """Why a run cannot be packed with others, or None if it can."""
    optimiser, strategy = options.optimiser, options.components.strategy
    if any(strategy.phase(options, epoch).episodes is not None for epoch in range(optimiser.epochs)):
        return "few-shot episodes differ in their classes from run to run"
    if optimiser.patience > 0:
        return "early stopping ends runs at different epochs"
    if optimiser.accumulate > 1:
        return "gradients are accumulated over batches"
    if optimiser.class_weights != "none":
        return "class weights differ from run to run"
    return None


def pack_key(options: Options, teachers: int = 0) -> str:
    """Runs with the same key may train as one.

    Args:
        teachers: how many teachers the run has.
    """
    return f"{options.pack_key()} {options.used_weights()} {options.asks_teacher} {teachers}"


def pack_groups(runs: Sequence[tuple[Options, int]], largest: int = 0) -> list[list[int]]:
    """Divide runs into groups that may train as one, in the order of their first members.

    Args:
        runs: the options of each, and how many teachers it has.
        largest: how many runs a group has at most; 0 = as many as fit together.
    """
    groups: dict[str, list[int]] = {}
    for i, (options, teachers) in enumerate(runs):
        key = pack_key(options, teachers) if why_alone(options) is None else f"alone {i}"
        groups.setdefault(key, []).append(i)
    out = []
    for members in groups.values():
        size = largest or len(members)
        out += [members[i : i + size] for i in range(0, len(members), size)]
    return out
