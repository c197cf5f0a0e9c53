"""The protocols that run the model anew, or need its store: one table. What a subsets table gives is in curves/."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcache.fuse.data.eligible import evaluated_rows
from mmcache.fuse.evaluation import curves
from mmcache.fuse.evaluation.adapted import adapted_rates
from mmcache.fuse.evaluation.bayes import bayes_accuracy
from mmcache.fuse.evaluation.cost import costs
from mmcache.fuse.evaluation.fewshot import few_shot
from mmcache.fuse.evaluation.inputs import stored_sources
from mmcache.fuse.evaluation.noise import noise_curves
from mmcache.fuse.evaluation.windows import window_curves
from mmcache.fuse.network.model import Model
from mmcache.fuse.options.options import Options
from mmcache.fuse.parts.test_time import step_options
from mmcache.fuse.parts.test_time.options import SHOWS_WHAT_IS_MISSING
from mmcache.fuse.runs.config import options_of, read_run_config
from mmcache.fuse.runs.files import SUMMARY_FILE, read_cost
from mmcache.store.feature_store import FeatureStore
from mmcache.store.ground.errors import ConfigError, StoreError


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What is measured only when it is asked for.

    Attributes:
        windows: how many windows to cut a segment's tokens into; None = no window-level missingness.
        test_time: a step of TEST_TIME: adapt while testing.
        step_options: option -> value of that step, over those of the run.
    """

    cost: bool = False
    few_shot: bool = False
    noise: bool = False
    windows: int | None = None
    test_time: str | None = None
    step_options: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Context:
    """A trained run under evaluation.

    Attributes:
        result: its results so far, in the form of `evaluate --json`.
        store: None where it cannot be opened; most protocols do without it.
    """

    run: Path
    result: dict[str, Any]
    options: Options
    model: Model
    store: FeatureStore | None
    wanted: Wanted
    device: str

    @property
    def opened(self) -> FeatureStore:
        assert self.store is not None
        return self.store

    @property
    def rows(self) -> NDArray[np.int64]:
        """The rows that the run is tested on."""
        sources = list(stored_sources(self.model.spec, self.opened).values())
        return evaluated_rows(self.opened, self.result["split"], sources)

    @property
    def k(self) -> int:
        return self.options.data.k


@dataclasses.dataclass(frozen=True)
class Protocol:
    """One protocol.

    Attributes:
        run: its results, None where it has none for this run.
        applies: whether it is run.
        needs_store: whether it reads the store.
    """

    run: Callable[[Context], Any]
    applies: Callable[[Context], bool] = lambda context: True
    needs_store: bool = True


def _zero_shot(context: Context) -> dict[str, Any]:
    """The subsets that share no modality with those that labels were learned from (MMG-Ego4D)."""
    names = {name.partition("/")[0].partition("=")[0] for name in context.options.data.train_modalities or ()}
    subsets = {
        subset: {task: figures["top1"] for task, figures in by_task.items()}
        for subset, by_task in context.result["subsets"].items()
        if not names & curves.parts(subset)
    }
    return {"trained_on": sorted(names), "subsets": subsets}


def _cost(context: Context) -> dict[str, Any] | None:
    path = context.run / SUMMARY_FILE
    saved = read_cost(path) if path.exists() else None
    return costs(context.model) if saved is None and context.wanted.cost else saved


def _few_shot(context: Context) -> dict[str, Any]:
    return few_shot(context.model, context.opened, context.result["split"], context.k, context.device)


def _noise(context: Context) -> dict[str, Any]:
    return noise_curves(context.model, context.opened, context.rows, context.k, context.device)


def _windows(context: Context) -> dict[str, Any]:
    windows = context.wanted.windows
    assert windows is not None
    return window_curves(context.model, context.opened, context.rows, context.k, windows, context.device)


def _adapted(context: Context) -> dict[str, Any]:
    step = context.wanted.test_time
    assert step is not None
    own = context.options.own if context.options.components.strategy.test_time == step else None
    options = step_options(step, context.wanted.step_options, own)
    if options.adapt_first and context.options.data.train_missing:
        raise ConfigError(SHOWS_WHAT_IS_MISSING)
    return adapted_rates(context.model, context.opened, context.rows, context.k, step, options, context.device)


PROTOCOLS: dict[str, Protocol] = {
    "zero_shot": Protocol(_zero_shot, lambda c: bool(c.options.data.train_modalities), needs_store=False),
    "cost": Protocol(_cost, needs_store=False),
    "bayes": Protocol(lambda c: bayes_accuracy(c.opened, c.model.spec), lambda c: c.store is not None),
    "few_shot": Protocol(_few_shot, lambda c: c.wanted.few_shot),
    "noise": Protocol(_noise, lambda c: c.wanted.noise),
    "windows": Protocol(_windows, lambda c: c.wanted.windows is not None),
    "adapted": Protocol(_adapted, lambda c: c.wanted.test_time is not None),
}


def measure(
    run: Path,
    result: dict[str, Any],
    wanted: Wanted,
    store: str | Path | None = None,
    device: str = "cpu",
    protocol: str | None = None,
) -> dict[str, Any]:
    """Keys to add to the results of a run: those of PROTOCOLS that apply to it.

    Args:
        protocol: another division of the segments, see FeatureStore.open.

    Raises:
        ConfigError: what is asked for cannot be done with this run and store.
        StoreError: it needs the store, which cannot be opened.
    """
    saved = read_run_config(run)
    options = options_of(saved)
    model = Model.load(run, device)
    opened, reason = None, None
    try:
        opened = FeatureStore.open(store or saved["store"], protocol=protocol or options.data.protocol)
    except StoreError as error:
        reason = error
    context = Context(run, result, options, model, opened, wanted, device)
    out = {}
    for name, each in PROTOCOLS.items():
        if each.applies(context):
            if each.needs_store and reason is not None:
                raise reason
            found = each.run(context)
            if found is not None:
                out[name] = found
    return out
