"""What weighs and calibrates teachers is nothing that any of them learned from."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmcache.fuse import train
from mmcache.fuse.data.rows import choose_rows
from mmcache.fuse.options.resolve import resolve_options
from mmcache.fuse.teachers import gather
from mmcache.fuse.teachers.known_segments import learned_ids, unlearned
from mmcache.store import ConfigError, FeatureStore

QUICK = {"width": 8, "depth": 1, "heads": 2, "k": 4, "epochs": 1, "warmup": 0.0, "batch_size": 16, "device": "cpu"}
SPLITS = ["train"] * 60 + ["test"] * 12
LACKING = {"audio": range(0, 60, 3), "rgb": range(1, 60, 3)}
SOURCES = {"audio": "audio/enc", "rgb": "rgb/enc"}


@pytest.fixture(scope="module")
def path(write_small_store: Callable[..., Path]) -> Path:
    return write_small_store(SPLITS, lacking=LACKING)


@pytest.fixture
def weighed(monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """Ids of the segments that weights and temperatures come from, once for each use."""
    found: list[set[str]] = []

    def spy(teachers: Any, store: FeatureStore, rows: np.ndarray) -> np.ndarray:
        left = unlearned(teachers, store, rows)
        found.append(set(store.segments["id"].to_numpy()[left]))
        return left

    monkeypatch.setattr(gather, "unlearned", spy)
    return found


@pytest.mark.parametrize("options", [{"ensemble": "dataset"}, {"calibrate": True}])
@pytest.mark.parametrize("seed", [0, 1])
def test_no_weighing_row_was_in_any_teachers_training(
    options: dict, seed: int, path: Path, weighed: list[set[str]], tmp_path: Path
) -> None:
    """The teachers are trained first, one a sensor, and each sensor is missing in a third of the segments."""
    trained = train("radevski", {**QUICK, "store": path, "out": tmp_path / "run", "seed": seed, **options})
    (rows,) = weighed
    learned = [learned_ids(teacher.path) for teacher in trained.teachers]
    assert rows
    assert len(learned) == 2
    assert not any(rows & ids for ids in learned)
    # The teachers hold out what the student does: nothing of it is lost.
    options = resolve_options("radevski", {"test": {"seed": seed}})
    store = FeatureStore.open(path)
    assert len(rows) == len(choose_rows(options, store, SOURCES, "test").validation)


def test_what_a_given_teacher_learned_from_is_left_out(path: Path, weighed: list[set[str]], tmp_path: Path) -> None:
    """Teachers of another seed hold out other videos."""
    given = [
        train("skip", {**QUICK, "store": path, "out": tmp_path / f"t{seed}", "seed": seed, "validation": 0.5}).path
        for seed in (3, 4)
    ]
    options = {**QUICK, "store": path, "teacher": given, "ensemble": "dataset", "validation": 0.5}
    train("radevski", {**options, "out": tmp_path / "run"})
    (rows,) = weighed
    options = resolve_options("radevski", {"test": {"validation": 0.5}})
    assert 0 < len(rows) < len(choose_rows(options, FeatureStore.open(path), SOURCES, "test").validation)
    assert not any(rows & learned_ids(run) for run in given)


def test_teachers_that_know_everything_weigh_nothing(path: Path, tmp_path: Path) -> None:
    given = [
        train("skip", {**QUICK, "store": path, "out": tmp_path / m, "validation": 0, "modalities": [m]}).path
        for m in ("audio", "rgb")
    ]
    options = {**QUICK, "store": path, "teacher": given}
    with pytest.raises(ConfigError, match="segments that none of them learned from"):
        train("radevski", {**options, "ensemble": "dataset", "out": tmp_path / "run"})
    assert train("radevski", {**options, "ensemble": "uniform", "out": tmp_path / "uniform"}).result["n"] == 12


def test_what_cannot_be_told_is_refused(path: Path, write_small_store: Callable, tmp_path: Path) -> None:
    trained = train("skip", {**QUICK, "store": path, "out": tmp_path / "run"})
    store = FeatureStore.open(path)
    config = trained.path / "config.yaml"
    saved = config.read_text()
    ids = learned_ids(trained.path)
    assert ids < set(store.segments["id"][:60])
    changed = write_small_store(SPLITS, lacking=LACKING, labels=[-1] * 30 + [row % 3 for row in range(42)])
    for other, message in ((changed, "has changed since"), (tmp_path / "gone.zarr", "cannot be told: no store at")):
        config.write_text(saved.replace(f"store: {path.absolute()}", f"store: {other}"))
        with pytest.raises(ConfigError, match=message):
            learned_ids(trained.path)


def test_every_segment_that_training_reads_for_learning_is_among_them(path: Path, tmp_path: Path) -> None:
    trained = train("mmg", {**QUICK, "epochs": 2, "store": path, "out": tmp_path / "run", "align_share": 0.5})
    rows = choose_rows(resolve_options("mmg", {"t": {"align_share": 0.5}}), FeatureStore.open(path), SOURCES, "test")
    ids = FeatureStore.open(path).segments["id"].to_numpy()
    assert learned_ids(trained.path) == set(ids[rows.train]) | set(ids[rows.align])
    summary = json.loads((trained.path / "summary.json").read_text())
    assert summary["picked_on"]["segments"] == len(rows.validation)
