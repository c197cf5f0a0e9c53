"""A run that is stopped goes on to the same bits, whatever its losses carry along."""

from pathlib import Path

import pytest
import torch

from mmcache.fuse import train
from mmcache.fuse.runs.progress import Silent
from mmcache.fuse.training.train import train_layers

QUICK = {"width": 16, "heads": 2, "k": 6, "epochs": 4, "warmup": 0.0, "batch_size": 8, "device": "cpu", "depth": 2}
# What each carries from epoch to epoch: a slow copy and a predictor; a table of weak combinations and a head; phases.
SHOWN = ("karmma", "mmanet", "macjepa")  # the others are slow
CARRYING = {
    "macjepa": {},
    "mmanet": {"margin_share": 0.5},
    "map": {},
    "radevski": {},
    "mmg": {"align_share": 0.3, "prototypes": 1.0, "meta_share": 0.3, "ways": 2, "shots": 2, "queries": 1},
}


class Stopped(Exception):
    """Somebody pulled the plug."""


class PlugPulled(Silent):
    """Stops the run named `strategy` after its second epoch."""

    def __init__(self, strategy: str) -> None:
        self.strategy, self.running = strategy, False

    def stage(self, title: str, details: list[str]) -> None:
        self.running = title.startswith(f"{self.strategy} -> ")

    def advance(self, done: int, total: int, unit: str, note: str = "") -> None:
        if self.running and (done, unit) == (2, "epochs"):
            raise Stopped


@pytest.mark.parametrize(
    "strategy", [name if name in SHOWN else pytest.param(name, marks=pytest.mark.slow) for name in CARRYING]
)
def test_a_stopped_run_goes_on_to_the_same_bits(strategy: str, store_copy: Path, tmp_path: Path) -> None:
    options = {**QUICK, **CARRYING[strategy], "store": store_copy}
    whole = train(strategy, {**options, "out": tmp_path / "whole"})
    stopped = {"flags": {**options, "out": tmp_path / "stopped"}}
    with pytest.raises(Stopped):
        train_layers(strategy, stopped, PlugPulled(strategy))
    assert not (tmp_path / "stopped" / "summary.json").exists()
    torch.rand(3)  # the caller's randomness is another by then
    resumed = train_layers(strategy, stopped, Silent())
    assert not resumed.was_finished
    assert (resumed.path / "model.safetensors").read_bytes() == (whole.path / "model.safetensors").read_bytes()
