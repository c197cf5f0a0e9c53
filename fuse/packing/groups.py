"""Which runs may train as one: those whose networks have one shape and whose losses are the same code."""

import dataclasses
import json
from collections.abc import Sequence

from mmcache.fuse.config import FuseConfig
from mmcache.fuse.training.objective import WEIGHTED

# What variants of one pack may differ in: numbers that are applied to each of them apart.
_FREE = (
    "seed", "drop", "law", "target", "train_missing",
    "lr", "lr_end", "warmup", "weight_decay", "clip",
    "alpha", *WEIGHTED,
    "teacher", "start", "out", "tensorboard",
    "ensemble", "ensemble_temperature", "teacher_mask", "teacher_modalities",
)  # fmt: skip


def why_alone(config: FuseConfig) -> str | None:
    """Why a run cannot be packed with others, or None if it can."""
    if config.prototypes > 0:
        return "few-shot episodes differ in their classes from run to run"
    if config.patience > 0:
        return "early stopping ends runs at different epochs"
    if config.accumulate > 1:
        return "gradients are accumulated over batches"
    if config.class_weights != "none":
        return "class weights differ from run to run"
    return None


def pack_key(config: FuseConfig) -> str:
    """Runs with the same key may train as one."""
    values = {name: value for name, value in dataclasses.asdict(config).items() if name not in _FREE}
    used = [name for name in WEIGHTED if getattr(config, name) > 0]
    return json.dumps([values, used, config.alpha < 1, len(config.teacher_runs)], sort_keys=True, default=str)


def pack_groups(configs: Sequence[FuseConfig], largest: int = 0) -> list[list[int]]:
    """Divide runs into groups that may train as one, in the order of their first members.

    Args:
        largest: how many runs a group has at most; 0 = as many as fit together.
    """
    groups: dict[str, list[int]] = {}
    for i, config in enumerate(configs):
        key = pack_key(config) if why_alone(config) is None else f"alone {i}"
        groups.setdefault(key, []).append(i)
    out = []
    for members in groups.values():
        size = largest or len(members)
        out += [members[i : i + size] for i in range(0, len(members), size)]
    return out
