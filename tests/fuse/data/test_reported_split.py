"""The split that results are on is never train unless a person asks for it, and any usual name finds it."""

import dataclasses
from pathlib import Path

import pytest

from mmcache.fuse.data.reported_split import reported_split
from mmcache.fuse.training.train import train
from mmcache.store import ConfigError, FeatureStore
from mmcache.store.format.layout import read_meta, write_meta


def store_of(path: Path, splits: dict[str, int], stated: str) -> FeatureStore:
    store = FeatureStore.open(path)
    store.meta = dataclasses.replace(store.meta, splits=splits, eval_split=stated)
    return store


@pytest.mark.parametrize(
    ("splits", "stated", "expected"),
    [
        (["train", "validation", "test"], "validation", "validation"),
        (["train", "validation", "test"], "", "test"),
        (["train", "test"], "train", "test"),  # as older code wrote where a table had splits of unusual names
        (["train", "dev"], "train", "dev"),
        (["Training", "fold1"], "Training", "fold1"),
        (["train", "validation"], "test", "validation"),
    ],
)
def test_train_is_never_reported_on(epic_store: Path, splits: list[str], stated: str, expected: str) -> None:
    store = store_of(epic_store, dict.fromkeys(splits, 3), stated)
    assert reported_split(None, store) == store.eval_split == expected


@pytest.mark.parametrize("splits", [{"train": 8}, {"train": 8, "fold1": 4, "fold2": 3}])
def test_where_nothing_says_which_the_splits_are_listed(epic_store: Path, splits: dict[str, int]) -> None:
    store = store_of(epic_store, splits, "train")
    assert store.eval_split == ""
    with pytest.raises(ConfigError) as caught:
        reported_split(None, store)
    for name, count in splits.items():
        assert f"{name} ({count} segments)" in str(caught.value)
    assert "name one with --eval-split" in str(caught.value)


@pytest.mark.parametrize(
    ("asked", "found"),
    [("val", "validation"), (" DEV", "validation"), ("testing", "test"), ("Fold1", "fold1"), ("train", "train")],
)
def test_what_a_person_asks_for_is_found_by_any_usual_name(epic_store: Path, asked: str, found: str) -> None:
    store = store_of(epic_store, {"train": 1, "validation": 1, "test": 1, "fold1": 1}, "test")
    assert reported_split(asked, store) == found


def test_a_name_that_may_mean_two_is_refused(epic_store: Path) -> None:
    store = store_of(epic_store, {"train": 5, "dev": 1, "valid": 2}, "")
    with pytest.raises(ConfigError, match=r"--eval-split val may mean dev or valid: .*dev \(1 segments\)"):
        reported_split("val", store)


def test_a_run_is_refused_before_it_trains(write_oracle_store, tmp_path: Path) -> None:
    path = write_oracle_store(12, 0)
    write_meta(path, dataclasses.replace(read_meta(path), splits={"train": 12}, eval_split=""))
    options = {"store": path, "out": tmp_path / "run", "epochs": 1, "width": 8, "heads": 1, "device": "cpu"}
    with pytest.raises(ConfigError, match=r"splits are .*train \(12 segments\).*: name one with --eval-split"):
        train("zeros", options)
    assert not (tmp_path / "run").exists()
    assert train("zeros", {**options, "eval_split": "train"}).result["split"] == "train"
