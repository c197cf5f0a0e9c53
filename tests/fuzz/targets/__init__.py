"""The readers that are fuzzed: each module here has a table of them, TARGETS."""

import importlib

from target import Target

MODULES = ("targets.media", "targets.datasets", "targets.store", "targets.settings", "targets.runs")


def targets_of(module: str) -> dict[str, Target]:
    """Name -> target of one module."""
    return {target.name: target for target in importlib.import_module(module).TARGETS}
