"""Training end to end on a real store of real media."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from mmcache.fuse import Model, evaluate, train
from mmcache.fuse.strategies import STRATEGIES
from mmcache.store import ConfigError, FeatureStore, Presence
from mmcache.store.format.small_array import write_chunk
from mmcache.store.load.loader import Loader

QUICK = {"width": 16, "heads": 2, "k": 6, "epochs": 2, "warmup": 0.0, "batch_size": 8, "device": "cpu"}
RUN_FILES = {
    "config.yaml", "curves.svg", "identity", "metrics.jsonl", "model.safetensors", "subsets.parquet", "summary.json"
}  # fmt: skip


def run_files(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.iterdir()}


def weights(run: Path) -> bytes:
    return (run / "model.safetensors").read_bytes()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_leaves_a_whole_run(strategy: str, store_copy: Path, tmp_path: Path) -> None:
    trained = train(strategy, {**QUICK, "store": store_copy, "out": tmp_path / "run"})
    assert set(run_files(trained.path)) == RUN_FILES
    metrics = [json.loads(line) for line in (trained.path / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in metrics] == [0, 1]
    assert all(np.isfinite(line["loss"]) for line in metrics)
    assert ("kd" in metrics[0]) == (strategy in ("karmma", "radevski"))
    saved = yaml.safe_load((trained.path / "config.yaml").read_text())
    assert saved["options"]["strategy"] == strategy
    teachers = {"karmma": 1, "mmanet": 1, "radevski": 3}.get(strategy, 0)
    assert len(trained.teachers) == teachers
    assert (trained.init_from is not None) == strategy.startswith("map")
    model = Model.load(trained.path)
    store = FeatureStore.open(store_copy)
    rows = store.rows("validation")
    batch = next(iter(store.batches("validation", batch_size=len(rows))))
    logits = model(batch.tokens, batch.present)
    assert {task: tuple(values.shape) for task, values in logits.items()} == {"verb": (14, 6), "noun": (14, 6)}


def test_results_have_the_documented_form(store_copy: Path, tmp_path: Path) -> None:
    result = train("dropout", {**QUICK, "store": store_copy, "out": tmp_path / "run"}).result
    assert list(result)[:7] == ["run", "split", "n", "subsets", "rates", "drop", "summary"]
    assert (result["split"], result["n"]) == ("validation", 10)
    assert set(result["subsets"]) == {
        "audio", "imu", "rgb", "audio+imu", "audio+rgb", "imu+rgb", "audio+imu+rgb"
    }  # fmt: skip
    tasks = {"verb", "noun", "action"}
    for figures in result["subsets"].values():
        assert set(figures) == tasks
        assert all(0 <= f["top1"] <= f["top5"] <= 100 for f in figures.values())
    assert set(result["rates"]) == {"audio", "imu", "rgb"}
    for curves in result["rates"].values():
        assert set(curves) == tasks
        assert all(list(curve) == ["0", "25", "50", "75", "100"] for curve in curves.values())
    assert all(list(curve) == [str(p) for p in range(0, 100, 10)] for curve in result["drop"].values())
    assert all(set(s) == {"avg_acc", "avg_rel_drop", "mean_delta"} for s in result["summary"].values())
    json.dumps(result, allow_nan=False)


def test_evaluate_derives_and_recomputes_the_same(store_copy: Path, tmp_path: Path) -> None:
    trained = train("mmt", {**QUICK, "store": store_copy, "out": tmp_path / "run"})
    assert evaluate(trained.path) == trained.result
    before = pd.read_parquet(trained.path / "subsets.parquet")
    assert evaluate(trained.path, fresh=True) == trained.result
    after = pd.read_parquet(trained.path / "subsets.parquet")
    exact = [c for c in before.columns if not c.endswith("_confidence")]
    pd.testing.assert_frame_equal(before[exact], after[exact])
    assert evaluate(trained.path, split="train")["split"] == "train"
    with pytest.raises(ConfigError, match=r"split 'test' of .* has no labelled segment"):
        evaluate(trained.path, split="test")


def test_stored_correctness_is_that_of_a_masked_run(store_copy: Path, tmp_path: Path) -> None:
    """Cross-method assertion 4: acc(r) from indexing equals acc of actually dropping the sensor."""
    trained = train("karmma-teacher", {**QUICK, "store": store_copy, "out": tmp_path / "run"})
    table = pd.read_parquet(trained.path / "subsets.parquet")
    model, store = Model.load(trained.path), FeatureStore.open(store_copy)
    rows = store.rows("validation")
    rows = rows[store.presence_matrix()[rows].all(axis=1)]
    batch = Loader(store, None, rows, k=6).batch(rows)
    keep = torch.ones_like(batch.present)
    keep[::2, 2] = False  # every other segment loses rgb
    predicted = model(batch.tokens, batch.present, keep)["verb"].argmax(dim=1)
    hits = (predicted == batch.labels["verb"]).numpy()
    for i, row in enumerate(rows):
        subset = "audio+imu" if i % 2 == 0 else "audio+imu+rgb"
        line = table[(table["id"] == store.segments["id"][row]) & (table["subset"] == subset)]
        assert bool(line["verb_top1"].item()) == hits[i]


def test_segments_that_lack_something_are_scored_as_they_are(store_copy: Path, tmp_path: Path) -> None:
    trained = train("zeros", {**QUICK, "store": store_copy, "out": tmp_path / "run"})
    table = pd.read_parquet(trained.path / "subsets.parquet")
    natural = table[table["subset"] == "natural"]
    assert set(natural["id"].str.startswith("P06_01_")) == {True}  # the video without IMU
    assert len(natural) == 4
    assert json.loads((trained.path / "summary.json").read_text())["natural"]["n"] == 14


def test_same_seed_same_bits_wherever_tokens_lie(store_copy: Path, tmp_path: Path) -> None:
    options = {**QUICK, "store": store_copy}
    ram = train("dropout", {**options, "out": tmp_path / "ram", "resident": "ram"})
    disk = train("dropout", {**options, "out": tmp_path / "disk", "resident": "disk"})
    other = train("dropout", {**options, "out": tmp_path / "other", "seed": 1})
    assert weights(ram.path) == weights(disk.path)
    assert weights(ram.path) != weights(other.path)


def test_a_finished_run_is_found_not_trained_again(store_copy: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = train("zeros", {**QUICK, "store": store_copy})
    stamp = (first.path / "model.safetensors").stat().st_mtime_ns
    again = train("zeros", {**QUICK, "store": store_copy})
    assert (again.path, again.was_finished, first.was_finished) == (first.path, True, False)
    assert again.result == first.result
    assert (first.path / "model.safetensors").stat().st_mtime_ns == stamp
    assert train("zeros", {**QUICK, "store": store_copy, "lr": 0.002}).path != first.path


def test_a_folder_with_something_else_is_left_alone(store_copy: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(ConfigError, match="holds another run or other files"):
        train("zeros", {**QUICK, "store": store_copy, "out": tmp_path / "mine"})
    train("zeros", {**QUICK, "store": store_copy, "out": tmp_path / "run"})
    with pytest.raises(ConfigError, match="holds another run"):
        train("zeros", {**QUICK, "store": store_copy, "out": tmp_path / "run", "lr": 0.5})


def test_a_killed_run_goes_on_to_the_same_bits(store_copy: Path, tmp_path: Path) -> None:
    options = {**QUICK, "epochs": 12, "store": str(store_copy)}
    whole = train("dropout", {**options, "out": tmp_path / "whole"})
    out = tmp_path / "killed"
    code = (
        "import json, sys\nfrom mmcache.fuse import train\n"
        "train('dropout', json.loads(sys.argv[1]))"
    )  # fmt: skip
    arguments = [sys.executable, "-c", code, json.dumps({**options, "out": str(out)})]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # as in this process; sums differ in the last bit otherwise
    process = subprocess.Popen(arguments, start_new_session=True, stderr=subprocess.DEVNULL, env=environment)
    deadline = time.monotonic() + 60
    while not (out / "metrics.jsonl").exists() or len((out / "metrics.jsonl").read_text().splitlines()) < 3:
        assert time.monotonic() < deadline
        assert process.poll() is None, "finished before it could be killed"
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "summary.json").exists()
    done = len((out / "metrics.jsonl").read_text().splitlines())
    assert 3 <= done < 12
    resumed = train("dropout", {**options, "out": out})
    assert weights(resumed.path) == weights(whole.path)
    assert resumed.result == {**whole.result, "run": str(out)}
    lines = [json.loads(line)["epoch"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert lines == list(range(12))


def test_training_may_draw_every_class_equally_often(store_copy: Path, tmp_path: Path) -> None:
    """Another order of the segments, so another model, but the same one again when it is repeated."""
    plain = train("dropout", {**QUICK, "store": store_copy, "out": tmp_path / "plain"})
    options = {**QUICK, "store": store_copy, "balance": "verb"}
    one, again = (train("dropout", {**options, "out": tmp_path / name}) for name in ("one", "again"))
    weights = [(run.path / "model.safetensors").read_bytes() for run in (plain, one, again)]
    assert weights[0] != weights[1]
    assert weights[1] == weights[2]


def test_the_callers_randomness_is_left_alone(store_copy: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train("dropout", {**QUICK, "store": store_copy, "out": tmp_path / "run"})
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.holds("zeros", "1.1 the baseline learns from complete segments alone")
def test_zeros_trains_on_complete_segments_only(store_copy: Path, tmp_path: Path) -> None:
    """With IMU marked missing wherever train has sound, there is nothing complete to train on."""
    store = FeatureStore.open(store_copy)
    grid, present = store.tokens["imu"].grid, store.present["imu"].copy()
    present[(store.segments["split"] == "train") & (store.present["audio"] == Presence.CACHED)] = Presence.MISSING
    assert (present[store.rows("train")] == Presence.CACHED).any()
    for shard in range(grid.n_shards):
        chunk = np.full(grid.rows_per_shard, Presence.TO_DO, np.uint8)
        chunk[: len(grid.rows(shard))] = present[list(grid.rows(shard))]
        write_chunk(store_copy / "present" / "imu" / "imu_demo" / "c" / str(shard), chunk)
    with pytest.raises(ConfigError, match=r"no training segment of .* has all of"):
        train("zeros", {**QUICK, "store": store_copy, "out": tmp_path / "run"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modalities": ["rgb", "adio"]}, "unknown tokens 'adio'. Did you mean 'audio'?"),
        ({"modalities": ["rgb", "rgb/swin3d_demo"]}, "names a modality twice"),
        ({"target": "flow", "drop": 0.5, "sampler": "target_only"}, "unknown target modality 'flow'"),
        ({"eval_split": "validaton"}, "unknown split 'validaton'. Did you mean 'validation'?"),
        ({"device": "cuda:7"}, "--device cuda:7 cannot be used here"),
        ({"resident": "gpu"}, "resident gpu needs a CUDA device"),
        ({"eval_split": "test"}, "has no labelled segment"),
        ({"balance": "colour"}, "unknown task 'colour'"),
    ],
)
def test_what_does_not_fit_the_store_is_said(options: dict, message: str, epic_store: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        train("zeros", {**QUICK, "store": epic_store, "out": tmp_path / "run", **options})
    assert message in str(caught.value)


def test_a_diverged_run_says_so(store_copy: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the loss became no number in epoch .* sound: try a smaller --lr"):
        train("zeros", {**QUICK, "store": store_copy, "out": tmp_path / "run", "lr": 1e4, "clip": 0.0, "epochs": 20})


def test_without_a_store_the_newest_is_taken(store_copy: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="no store under cache/"):
        train("zeros", QUICK)
    (tmp_path / "cache").mkdir()
    store_copy.rename(tmp_path / "cache" / "epic.zarr")
    trained = train("zeros", QUICK)
    assert trained.path.parent == Path("runs/epic")
