"""A packed run is the run it would be alone: the same losses, the same figures, the same folder."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mmcache.fuse import evaluate
from mmcache.fuse.packing import train_pack
from mmcache.fuse.runs.progress import Silent
from mmcache.fuse.strategies import STRATEGIES
from mmcache.fuse.training.plan import plan_run
from mmcache.fuse.training.stores import Stores
from mmcache.fuse.training.train import RunRequest, TrainedRun, execute, make_request, train_one
from mmcache.store.ground.errors import ConfigError

QUICK = {"width": 16, "k": 6, "epochs": 3, "batch_size": 8, "lr": 1e-3, "device": "cpu", "resident": "ram"}
SMALL = {"heads": 2, "depth": 2}  # where the parts of a strategy read them
# Whole videos are held out, so seeds differ in the number of their segments, in that of their batches, or in neither.
VARIANTS: list[dict[str, Any]] = [{"seed": 0}, {"seed": 1, "lr": 3e-3}, {"seed": 1, "drop": 0.2}, {"seed": 2}]
SHOWN = ("mmt", "karmma")


def requests(strategy: str, store: Path, out: Path, variants: list[dict[str, Any]]) -> list[RunRequest]:
    """What each variant needs is trained first, in one folder a seed; a strategy that drops nothing has no rate."""
    made, stores = [], Stores()
    for i, own in enumerate(variants):
        flags = {**QUICK, "store": store, "out": out / str(i)}
        layers = {"flags": flags, "overrides": SMALL, "axes": own}
        planned = plan_run(strategy, layers, "published", stores, lenient=("overrides", "axes"))
        assert set(planned.unused) <= {*SMALL, "drop"}
        teachers = tuple(execute(run, stores, Silent()).path for run in planned.teachers)
        start = execute(planned.init_from, stores, Silent()).path if planned.init_from is not None else None
        made.append(make_request(planned, stores.open(store, None), teachers, start))
    return made


def losses(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def assert_same_run(alone: Path, packed: Path, tolerance: float = 1e-4) -> None:
    for one, other in zip(losses(alone), losses(packed), strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            if isinstance(value, float) and name != "seconds":
                assert abs(value - other[name]) < tolerance, (name, value, other[name])
    accuracies, own = evaluate(alone)["subsets"], evaluate(packed)["subsets"]
    for subset, tasks in accuracies.items():
        for task, figures in tasks.items():
            assert own[subset][task] == pytest.approx(figures, abs=tolerance), (subset, task)
    assert {path.name for path in alone.iterdir()} == {path.name for path in packed.iterdir()}
    # Not the weights: AdamW makes full steps of the rounding errors that are all the gradient of a key's bias.
    said, others = (pd.read_parquet(run / "subsets.parquet") for run in (alone, packed))
    pd.testing.assert_frame_equal(said, others, check_exact=False, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize(
    ("strategy", "options"),
    [
        *(pytest.param(name, {}, marks=() if name in SHOWN else pytest.mark.slow, id=name) for name in STRATEGIES),
        pytest.param("mmt", {"replace_shares": [0.0, 0.25, 1.0]}, marks=pytest.mark.slow),
        pytest.param("shaspec", {"auxiliary": "all"}, marks=pytest.mark.slow),
    ],
)
def test_packed_equals_single(strategy: str, options: dict[str, Any], store_copy: Path, tmp_path: Path) -> None:
    variants = [{**variant, **options} for variant in VARIANTS]
    alone = [train_one(request, Silent()) for request in requests(strategy, store_copy, tmp_path / "alone", variants)]
    packed = train_pack(requests(strategy, store_copy, tmp_path / "packed", variants), [Silent()] * len(variants))
    for one, other in zip(alone, packed, strict=True):
        assert isinstance(other, TrainedRun), other
        assert_same_run(one.path, other.path)


@pytest.mark.slow
def test_packed_is_close_to_single_in_bfloat16(store_copy: Path, tmp_path: Path) -> None:
    """Where every product is rounded, the order of sums shows; 3 epochs apart it is some thousandths."""
    variants = [{**variant, "precision": "bf16"} for variant in VARIANTS]
    alone = [train_one(request, Silent()) for request in requests("karmma", store_copy, tmp_path / "alone", variants)]
    packed = train_pack(requests("karmma", store_copy, tmp_path / "packed", variants), [Silent()] * len(variants))
    for one, other in zip(alone, packed, strict=True):
        assert isinstance(other, TrainedRun), other
        for ours, theirs in zip(losses(one.path), losses(other.path), strict=True):
            assert ours["loss"] == pytest.approx(theirs["loss"], abs=0.02)


def test_variants_of_one_order_read_their_tokens_once(store_copy: Path, tmp_path: Path) -> None:
    """With the same seed, and incomplete sets of their own."""
    variants = [{"drop": 0.5}, {"drop": 0.1}, {"sampler": "uniform_subset"}, {"train_missing": {"rgb": 0.4}}]
    alone = [train_one(r, Silent()) for r in requests("moddrop", store_copy, tmp_path / "alone", variants)]
    packed = train_pack(requests("moddrop", store_copy, tmp_path / "packed", variants), [Silent()] * 4)
    for one, other in zip(alone, packed, strict=True):
        assert isinstance(other, TrainedRun), other
        assert_same_run(one.path, other.path)


class _Stopped(BaseException):
    """The plug was pulled."""


class _Plug(Silent):
    def __init__(self, epoch: int) -> None:
        self._epoch = epoch

    def advance(self, done: int, total: int, unit: str, note: str = "") -> None:
        if done == self._epoch and unit == "epochs":
            raise _Stopped


@pytest.mark.parametrize("member", [0, 2], ids=["after the first of them", "after the last of them"])
def test_a_stopped_pack_goes_on_to_the_same_bytes(member: int, store_copy: Path, tmp_path: Path) -> None:
    """Stopped between the folders of an epoch too, where some are an epoch ahead."""
    variants = VARIANTS[:3]
    whole = train_pack(requests("mmt", store_copy, tmp_path / "whole", variants), [Silent()] * 3)
    asked = requests("mmt", store_copy, tmp_path / "stopped", variants)
    plugs = [_Plug(2) if i == member else Silent() for i in range(3)]
    with pytest.raises(_Stopped):
        train_pack(asked, plugs)
    assert len(losses(tmp_path / "stopped" / "0")) == 2
    resumed = train_pack(asked, [Silent()] * 3)
    for one, other in zip(whole, resumed, strict=True):
        assert isinstance(one, TrainedRun)
        assert isinstance(other, TrainedRun)
        assert_same_run(one.path, other.path, 1e-6)


def test_a_stopped_pack_may_go_on_one_by_one(store_copy: Path, tmp_path: Path) -> None:
    variants = VARIANTS[:2]
    whole = train_pack(requests("dropout", store_copy, tmp_path / "whole", variants), [Silent()] * 2)
    asked = requests("dropout", store_copy, tmp_path / "stopped", variants)
    with pytest.raises(_Stopped):
        train_pack(asked, [Silent(), _Plug(1)])
    for one, request in zip(whole, asked, strict=True):
        assert isinstance(one, TrainedRun)
        assert_same_run(one.path, train_one(request, Silent()).path)


def test_a_variant_that_breaks_stops_none_of_the_others(store_copy: Path, tmp_path: Path) -> None:
    variants = [{"seed": 0}, {"seed": 1, "lr": 1e4, "clip": 0.0, "warmup": 0.0}, {"seed": 2}]
    asked = requests("dropout", store_copy, tmp_path / "packed", variants)
    first, broken, last = train_pack(asked, [Silent()] * 3)
    assert isinstance(broken, ConfigError), broken
    assert "the loss became no number in epoch" in str(broken)
    for run, own in ((first, variants[0]), (last, variants[2])):
        assert isinstance(run, TrainedRun)
        (alone,) = requests("dropout", store_copy, tmp_path / f"alone-{own['seed']}", [own])
        assert_same_run(train_one(alone, Silent()).path, run.path)


@pytest.mark.parametrize("worth_it", [0.0, 1e9], ids=["as one", "one after another"])
def test_measuring_the_gain_changes_nothing(
    worth_it: float, store_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmcache.fuse.packing.pack._WORTH_IT", worth_it)
    alone = [train_one(r, Silent()) for r in requests("mmt", store_copy, tmp_path / "alone", VARIANTS[:2])]
    asked = requests("mmt", store_copy, tmp_path / "packed", VARIANTS[:2])
    for one, other in zip(alone, train_pack(asked, [Silent()] * 2, always=False), strict=True):
        assert isinstance(other, TrainedRun), other
        assert_same_run(one.path, other.path)


def test_what_is_finished_is_read_and_what_is_refused_is_named(store_copy: Path, tmp_path: Path) -> None:
    asked = requests("dropout", store_copy, tmp_path, VARIANTS[:2])
    done = train_one(asked[0], Silent())
    foreign = tmp_path / "1"
    foreign.mkdir()
    (foreign / "notes.txt").write_text("mine")
    found, refused = train_pack(asked, [Silent()] * 2)
    assert isinstance(found, TrainedRun)
    assert found.was_finished
    assert found.result == evaluate(done.path)
    assert isinstance(refused, ConfigError)
    assert "holds another run or other files" in str(refused)
