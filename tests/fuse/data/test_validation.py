"""What picks the epoch: a validation split where there is one, else groups held out of train, or nothing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from mmcache.fuse import Model
from mmcache.fuse.data.rows import Rows, choose_rows
from mmcache.fuse.data.validation import validation_split
from mmcache.fuse.evaluation.curves import accuracy
from mmcache.fuse.evaluation.evaluate import correctness, score
from mmcache.fuse.options.resolve import resolve_options
from mmcache.fuse.runs.progress import Silent
from mmcache.fuse.training.loop import Training
from mmcache.fuse.training.train import TrainedRun, train_layers
from mmcache.store import ConfigError, FeatureStore

SOURCES = {"audio": "audio/enc", "rgb": "rgb/enc"}
QUICK = {"width": 8, "depth": 1, "heads": 2, "k": 4, "epochs": 2, "warmup": 0.0, "batch_size": 8, "device": "cpu"}
SPLITS = ["train"] * 16 + ["validation"] * 8 + ["test"] * 8
PEOPLE = [f"p{row % 4}" for row in range(32)]


class Told(Silent):
    """Keeps what a person would see before the first epoch."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def stage(self, title: str, details: list[str]) -> None:
        self.lines += details


@pytest.fixture(scope="session")
def path(write_small_store: Callable[..., Path]) -> Path:
    return write_small_store(SPLITS, person=PEOPLE)


def rows_of(path: Path, eval_split: str = "test", **options: Any) -> tuple[Rows, FeatureStore]:
    resolved = resolve_options("dropout", {"test": options})
    store = FeatureStore.open(path, protocol=resolved.data.protocol)
    return choose_rows(resolved, store, SOURCES, eval_split), store


def run(path: Path, out: Path, **options: Any) -> tuple[TrainedRun, list[str]]:
    told = Told()
    flags = {**QUICK, "store": path, "out": out, **options}
    return train_layers("dropout", {"flags": flags}, told), told.lines


def test_the_validation_split_picks_and_all_of_train_is_trained_on(path: Path) -> None:
    rows, store = rows_of(path)
    assert (store.segments["split"][rows.validation] == "validation").all()
    assert len(rows.validation) == 8
    assert rows.train.tolist() == list(range(16))
    assert rows.picked_on == "validation"


@pytest.mark.parametrize("name", ["val", "valid", "dev", "Validation"])
def test_a_validation_split_has_many_names(name: str, write_small_store: Callable[..., Path]) -> None:
    path = write_small_store(["train"] * 8 + [name] * 4 + ["test"] * 4)
    assert validation_split(FeatureStore.open(path), "test", None) == name


def test_ek90_has_a_split_of_its_own_for_it(write_small_store: Callable[..., Path]) -> None:
    ek90 = ["train"] * 8 + ["holdout"] * 4 + ["validation"] * 8
    path = write_small_store(["train"] * 12 + ["validation"] * 8, eval_split="validation", split_ek90=ek90)
    rows, _ = rows_of(path, "validation", protocol="ek90")
    assert (rows.picked_on, rows.validation.tolist(), len(rows.train)) == ("holdout", [8, 9, 10, 11], 8)
    other = write_small_store(["train"] * 8 + ["holdout"] * 4 + ["test"] * 4)
    assert validation_split(FeatureStore.open(other), "test", None) is None, "somebody's last test, perhaps"


def test_what_is_reported_never_picks(path: Path) -> None:
    """Results on validation, as EPIC has them: part of train picks the epoch."""
    rows, store = rows_of(path, "validation")
    assert set(store.segments["split"][rows.validation]) == {"train"}
    assert not set(rows.validation) & set(rows.train)
    assert set(store.segments["split"][rows.evaluated]) == {"validation"}


@given(st.sampled_from(["test", "validation"]), st.sampled_from([None, 0.0, 0.1, 0.3, 0.6]), st.integers(0, 5))
def test_no_segment_has_two_purposes(path: Path, eval_split: str, share: float | None, seed: int) -> None:
    rows, store = rows_of(path, eval_split, validation=share, seed=seed)
    purposes = [set(rows.learned), set(rows.validation), set(rows.evaluated)]
    assert sum(map(len, purposes)) == len(set.union(*purposes))
    assert set(store.segments["split"][rows.train]) == {"train"}
    if share == 0:
        assert not len(rows.validation)
    if share is not None:
        assert set(store.segments["split"][rows.validation]) <= {"train"}, "a share that is asked for is of train"


@given(st.integers(0, 20), st.sampled_from([0.1, 0.3, 0.6]))
def test_people_are_on_one_side(path: Path, seed: int, share: float) -> None:
    rows, store = rows_of(path, "validation", group="person", validation=share, seed=seed)
    person = store.segments["person"].to_numpy()
    assert not set(person[rows.train]) & set(person[rows.validation])
    assert share * 16 <= len(rows.validation) < 16


def test_runs_of_other_modalities_hold_out_the_same(write_small_store: Callable[..., Path]) -> None:
    """A teacher of one sensor trains on none of what its student weighs it by, though others lack that sensor."""
    path = write_small_store(["train"] * 60 + ["test"] * 6, lacking={"audio": list(range(0, 60, 3))})
    plain, store = resolve_options("skip", {}), FeatureStore.open(path)
    for seed in range(5):
        options = plain.replace(seed=seed)
        both = choose_rows(options, store, SOURCES, "test")
        one = choose_rows(options, store, {"audio": "audio/enc"}, "test")
        assert not set(one.learned) & set(both.validation)
        assert set(one.validation) < set(both.validation)
        assert len(one.learned)


def test_a_fold_tests_one_group_and_trains_on_the_others(path: Path) -> None:
    for name in ("p0", "p3"):
        rows, store = rows_of(path, group="person", fold=name)
        person = store.segments["person"].to_numpy()
        assert set(person[rows.evaluated]) == {name}
        assert len(rows.evaluated) == 8
        assert {name, *person[rows.train], *person[rows.validation]} == set(PEOPLE)
        assert not {name} & {*person[rows.train], *person[rows.validation]}
        assert not set(person[rows.train]) & set(person[rows.validation])


def test_a_fold_is_a_run_like_any_other(path: Path, tmp_path: Path) -> None:
    trained, lines = run(path, tmp_path / "run", group="person", fold="p1")
    assert (trained.result["split"], trained.result["n"]) == ("test", 8)
    assert any("held out, by person" in line for line in lines)
    assert yaml.safe_load((trained.path / "config.yaml").read_text())["options"]["data"]["protocol"] == "person=p1"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fold": "p1"}, "--fold p1 needs --group COLUMN"),
        ({"group": "persn"}, "unknown column of the segments 'persn'. Did you mean 'person'?"),
        ({"group": "person", "fold": "p9"}, "unknown group in the column 'person' 'p9'"),
        ({"group": "person", "fold": "p1", "protocol": "x"}, "--fold divides the segments itself"),
        ({"group": "room"}, "all 16 training segments have one room, so none can be held out with its whole group"),
        ({"group": "seat"}, "8 of 16 segments have an empty cell in the column 'seat', the first of them s000"),
        ({"group": "seat", "fold": "back"}, "8 of 32 segments have an empty cell in the column 'seat'"),
        ({"validation": 0, "patience": 2}, "patience needs segments that training does not learn from"),
        ({"pick_by": "best"}, "flags: pick_by = 'best': allowed are mean or full"),
    ],
)
def test_what_cannot_be_is_said(options: dict, message: str, write_small_store: Callable, tmp_path: Path) -> None:
    seats, rooms = [""] * 8 + ["front", "back"] * 12, ["here"] * 32
    path = write_small_store(SPLITS, person=PEOPLE, seat=seats, room=rooms)
    options = {"eval_split": "validation", **options}
    with pytest.raises(ConfigError) as caught:
        run(path, tmp_path / "run", **options)
    assert message in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_it_is_printed_and_written_down(path: Path, tmp_path: Path) -> None:
    trained, lines = run(path, tmp_path / "run")
    assert "epochs are picked on 'validation', 8 segments, by the mean accuracy" in lines
    expected = {"split": "validation", "segments": 8, "by": "mean"}
    assert yaml.safe_load((trained.path / "config.yaml").read_text())["picked_on"] == expected
    assert json.loads((trained.path / "summary.json").read_text())["picked_on"] == expected
    assert trained.result["split"] == "test", "the figure of the validation split is not the result"


def test_with_nothing_held_out_the_last_epoch_is_kept(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after = []  # the weights after each epoch
    end_epoch = Training.end_epoch

    def spy(self: Training, *arguments: Any) -> None:
        after.append({name: value.clone() for name, value in self.model.state_dict().items()})
        end_epoch(self, *arguments)

    monkeypatch.setattr(Training, "end_epoch", spy)
    trained, lines = run(path, tmp_path / "run", validation=0, epochs=3)
    assert "the last epoch is kept: --validation 0" in lines
    metrics = [json.loads(line) for line in (trained.path / "metrics.jsonl").read_text().splitlines()]
    assert [line["validation"] for line in metrics] == [{}] * 3
    assert json.loads((trained.path / "summary.json").read_text())["picked_on"]["split"] is None
    kept = load_file(trained.path / "model.safetensors")
    assert len(after) == 3
    assert all(torch.equal(value, after[2][name]) for name, value in kept.items())
    assert not all(torch.equal(value, after[1][name]) for name, value in kept.items())


@pytest.mark.parametrize("pick_by", ["mean", "full"])
def test_the_accuracy_that_picks_is_an_option(pick_by: str, path: Path, tmp_path: Path) -> None:
    trained, _ = run(path, tmp_path / "run", epochs=1, pick_by=pick_by)
    table = score(Model.load(trained.path), FeatureStore.open(path), np.arange(16, 24), 4)
    correct = {name: accuracy(values) for name, values in correctness(table, "class").items()}
    expected = np.mean(list(correct.values())) if pick_by == "mean" else correct["audio+rgb"]
    (line,) = (trained.path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line)["validation"]["class"] == pytest.approx(expected, abs=1e-3)


def test_a_validation_split_without_labels_is_no_help(write_small_store: Callable[..., Path], tmp_path: Path) -> None:
    labels = [row % 3 if row < 16 or row >= 24 else -1 for row in range(32)]
    path = write_small_store(SPLITS, labels=labels)
    _, lines = run(path, tmp_path / "run")
    assert "'validation' has no labelled segment with tokens, so a part of train picks the epoch" in lines


def test_people_in_train_and_validation_are_named(path: Path, tmp_path: Path) -> None:
    _, lines = run(path, tmp_path / "run", group="person")
    assert "4 of 'validation', as person p0, p1, p2, are in 'train' too" in lines
