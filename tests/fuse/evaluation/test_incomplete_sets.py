"""Every strategy learns from incomplete sets, and takes a sensor that is nowhere (methods.md 0 and 1.1)."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mmcache.fuse import Model, evaluate
from mmcache.fuse.data.eligible import evaluated_rows
from mmcache.fuse.evaluation.adapted import adapted_rates
from mmcache.fuse.parts.test_time import step_options
from mmcache.fuse.strategies import STRATEGIES
from mmcache.fuse.training.train import TrainedRun
from mmcache.store import FeatureStore

N = 106
QUICK = {
    "width": 16, "depth": 2, "heads": 2, "k": 4, "epochs": 1, "warmup": 0.0, "batch_size": 16, "lr": 0.01,
    "device": "cpu",
}  # fmt: skip
# Several trainings each: half a minute for all of them.
ONCE_A_STAGE = [
    pytest.param(name, marks=pytest.mark.slow) if each.teacher or each.init_from else name
    for name, each in STRATEGIES.items()
]
WITHOUT_IMU = {"audio", "rgb", "audio+rgb"}
Runs = Callable[..., TrainedRun]


@pytest.fixture(scope="module")
def no_imu_at_test(write_store: Callable[..., Path]) -> Path:
    return write_store(lacking={"imu": list(range(60, N))})


@pytest.fixture(scope="module")
def never_imu(write_store: Callable[..., Path]) -> Path:
    return write_store(lacking={"imu": list(range(N))})


@pytest.fixture(scope="module")
def no_imu(write_store: Callable[..., Path]) -> Path:
    return write_store(modalities=("audio", "rgb"))


@pytest.fixture(scope="module")
def run_of(base_of: Callable, train_quickly: Runs, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Train a strategy on a store, on top of a small run of what it builds on; what was trained once is found."""

    @functools.cache
    def make(strategy: str, store: Path, missing: float = 0.0, modalities: tuple[str, ...] | None = None) -> TrainedRun:
        options: dict[str, Any] = {**QUICK, "store": store, "modalities": modalities and list(modalities)}
        if missing:
            options["train_missing"] = {"audio": missing}
        base = base_of(strategy)
        if base is not None:
            options[base[0]] = make(base[1], store, missing, modalities).path
        return train_quickly(strategy, {**options, "out": tmp_path_factory.mktemp("runs") / strategy})

    return make


@pytest.fixture
def trained(run_of: Runs, no_imu_at_test: Path) -> Callable[[str], TrainedRun]:
    """A run whose training segments lack audio in one case of four; IMU is nowhere at test."""
    return lambda strategy: run_of(strategy, no_imu_at_test, 0.25)


@pytest.mark.holds("every", "1.1 training sets may be incomplete, and a sensor may be nowhere at test")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_it_learns_from_an_incomplete_training_set(
    strategy: str, trained: Callable[[str], TrainedRun], run_of: Runs, no_imu_at_test: Path
) -> None:
    """The loss is a number, and what was learned is not what complete segments teach."""
    (line,) = (trained(strategy).path / "metrics.jsonl").read_text().splitlines()
    assert np.isfinite(json.loads(line)["loss"])
    if strategy == "dropout":
        runs = trained(strategy), run_of(strategy, no_imu_at_test)
        sets = [load_file(run.path / "model.safetensors") for run in runs]
        assert any(not torch.equal(value, sets[1][name]) for name, value in sets[0].items())


@pytest.mark.holds("every", "1.1 training sets may be incomplete, and a sensor may be nowhere at test")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_sensor_may_be_nowhere_at_test(strategy: str, trained: Callable[[str], TrainedRun]) -> None:
    result = trained(strategy).result
    assert set(result["subsets"]) == WITHOUT_IMU
    assert set(result["rates"]) == {"audio", "rgb"}
    assert result["n"] == 40


@pytest.mark.holds("every", "1.1 training sets may be incomplete, and a sensor may be nowhere at test")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_store_may_lack_a_sensor_altogether(
    strategy: str, trained: Callable[[str], TrainedRun], no_imu: Path, no_imu_at_test: Path
) -> None:
    """No tokens of that name are in it: the results are those of a store that has them for no segment."""
    run = trained(strategy)
    there = evaluate(run.path, store=no_imu_at_test, fresh=True)
    here = evaluate(run.path, store=no_imu)
    assert set(here["subsets"]) == WITHOUT_IMU
    assert here["subsets"] == there["subsets"]
    assert here["rates"] == there["rates"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_it_adapts_without_the_sensor_that_is_nowhere(
    strategy: str, trained: Callable[[str], TrainedRun], no_imu: Path
) -> None:
    model, store = Model.load(trained(strategy).path), FeatureStore.open(no_imu)
    rows = evaluated_rows(store, "validation", store.modalities)
    curves = adapted_rates(model, store, rows, 4, "midl", step_options("midl", {"adapt_lr": 0.05}))
    assert set(curves) == {"audio", "rgb"}
    assert all(0 <= value <= 100 for tasks in curves.values() for curve in tasks.values() for value in curve.values())


@pytest.mark.holds("every", "1.1 training sets may be incomplete, and a sensor may be nowhere at test")
@pytest.mark.parametrize("strategy", ONCE_A_STAGE)
def test_a_sensor_that_training_never_has(strategy: str, run_of: Runs, never_imu: Path, tmp_path: Path) -> None:
    """It learns from the others; complete are then the segments that have these."""
    run = run_of(strategy, never_imu)
    assert set(run.result["subsets"]) == WITHOUT_IMU
