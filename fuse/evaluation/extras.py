"""What an evaluation adds to the results where the run's model and store are at hand, and when it is asked to."""

import dataclasses
from pathlib import Path
from typing import Any

from mmcache.fuse.evaluation import curves as protocols
from mmcache.fuse.evaluation.adapted import adapted_rates
from mmcache.fuse.evaluation.bayes import bayes_accuracy
from mmcache.fuse.evaluation.cost import costs
from mmcache.fuse.evaluation.evaluate import SUMMARY_FILE
from mmcache.fuse.evaluation.fewshot import few_shot
from mmcache.fuse.evaluation.noise import noise_curves
from mmcache.fuse.evaluation.scoring import evaluated_rows, stored_sources
from mmcache.fuse.evaluation.windows import window_curves
from mmcache.fuse.network.model import Model, config_of, read_run_config
from mmcache.fuse.training.run_files import read_cost
from mmcache.store.feature_store import FeatureStore
from mmcache.store.ground.errors import StoreError


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What takes running the model anew, and is done only when asked for.

    Attributes:
        windows: how many windows to cut a segment's tokens into; None = no window-level missingness.
        test_time: a step of TEST_TIME: adapt while testing, with the run's options.
    """

    cost: bool = False
    few_shot: bool = False
    noise: bool = False
    windows: int | None = None
    test_time: str | None = None

    @property
    def runs_model(self) -> bool:
        return self.few_shot or self.noise or self.test_time is not None or self.windows is not None


def extras(
    run: Path,
    result: dict[str, Any],
    wanted: Wanted,
    store: str | Path | None = None,
    device: str = "cpu",
    protocol: str | None = None,
) -> dict[str, Any]:
    """Keys to add to the results of a run.

    zero_shot, where labels were learned from some modalities alone; bayes, where the best possible accuracy is known;
    cost, where the run has it or it is asked for; few_shot, noise, windows and adapted where they are asked for.

    Raises:
        ConfigError: what is asked for cannot be done with this run and store.
    """
    saved = read_run_config(run)
    out: dict[str, Any] = {}
    trained_on = saved["options"].get("train_modalities")
    if trained_on:
        out["zero_shot"] = _zero_shot(result, trained_on)
    cost = _saved_cost(run)
    model = Model.load(run, device)
    if wanted.cost and cost is None:
        cost = costs(model)
    if cost is not None:
        out["cost"] = cost
    try:
        opened = FeatureStore.open(store or saved["store"], protocol=protocol or saved["options"].get("protocol"))
    except StoreError:
        if wanted.runs_model:
            raise
        return out  # a run can be looked at where its store is not
    best = bayes_accuracy(opened, model.spec)
    if best is not None:
        out["bayes"] = best
    k, split = config_of(saved).k, result["split"]
    if wanted.few_shot:
        out["few_shot"] = few_shot(model, opened, split, k, device)
    if wanted.noise or wanted.test_time is not None or wanted.windows is not None:
        rows = evaluated_rows(opened, split, list(stored_sources(model.spec, opened).values()))
        if wanted.noise:
            out["noise"] = noise_curves(model, opened, rows, k, device)
        if wanted.windows is not None:
            out["windows"] = window_curves(model, opened, rows, k, wanted.windows, device)
        if wanted.test_time is not None:
            out["adapted"] = adapted_rates(model, opened, rows, config_of(saved), wanted.test_time, device)
    return out


def _zero_shot(result: dict[str, Any], trained_on: list[str]) -> dict[str, Any]:
    """The subsets that share no modality with those that labels were learned from (methods 1.6: MMG-Ego4D)."""
    names = {name.partition("/")[0].partition("=")[0] for name in trained_on}
    subsets = {
        subset: {task: figures["top1"] for task, figures in by_task.items()}
        for subset, by_task in result["subsets"].items()
        if not names & protocols.parts(subset)
    }
    return {"trained_on": sorted(names), "subsets": subsets}


def _saved_cost(run: Path) -> dict[str, Any] | None:
    path = run / SUMMARY_FILE
    return read_cost(path) if path.exists() else None
