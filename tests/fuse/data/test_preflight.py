"""What is said before training: errors where nothing could be evaluated, notes where a person should know."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from mmcache.fuse import Model
from mmcache.fuse.runs.progress import Silent
from mmcache.fuse.sweep.spec import make_spec
from mmcache.fuse.sweep.trials import Planner
from mmcache.fuse.training.train import TrainedRun, train_layers
from mmcache.store import ConfigError

QUICK = {"width": 8, "depth": 1, "heads": 2, "k": 4, "epochs": 1, "warmup": 0.0, "batch_size": 8, "device": "cpu"}
SPLITS = ["train"] * 16 + ["test"] * 8
TRAIN, TEST = range(16), range(16, 24)


class Told(Silent):
    """Keeps the notes that a person would see before the first epoch."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def stage(self, title: str, details: list[str]) -> None:
        if title == "before the start":
            self.notes += details
        self.notes += [line.removeprefix("note: ") for line in details if line.startswith("note: ")]


def run(path: Path, out: Path, strategy: str = "dropout", **options: Any) -> tuple[TrainedRun, list[str]]:
    told = Told()
    return train_layers(strategy, {"flags": {**QUICK, "store": path, "out": out, **options}}, told), told.notes


@pytest.mark.parametrize("strategy", ["dropout", "karmma", "radevski", "map"])
def test_a_test_set_without_a_complete_segment_is_refused_before_training(
    strategy: str, write_small_store: Callable, tmp_path: Path
) -> None:
    """Not after it, and before any teacher or start is trained."""
    path = write_small_store(SPLITS, lacking={"audio": [16, 17, 18], "rgb": range(19, 24)})
    with pytest.raises(ConfigError) as caught:
        run(path, tmp_path / "run", strategy)
    said = str(caught.value)
    assert "none of the 8 segments of 'test' has all of audio, rgb" in said
    assert "--modalities audio is whole in 5 of them" in said
    assert list(tmp_path.iterdir()) == []
    trained, notes = run(path, tmp_path / "one", modalities=["audio"])
    assert (trained.result["n"], notes) == (5, [])


def test_a_sensor_that_training_never_has_is_refused_where_the_test_has_it(
    write_small_store: Callable, tmp_path: Path
) -> None:
    path = write_small_store(SPLITS, lacking={"audio": TRAIN})
    with pytest.raises(ConfigError) as caught:
        run(path, tmp_path / "run")
    assert "no segment of 'train'" in str(caught.value)
    assert "has audio, and 8 of 'test' have" in str(caught.value)
    assert "leave it out: --modalities rgb" in str(caught.value)
    assert run(path, tmp_path / "run", modalities=["rgb"])[0].result["n"] == 8


@pytest.mark.parametrize(
    ("lacking", "note"),
    [
        (TEST, "no segment of 'test' has audio: results are those of the other modalities"),
        ([*TRAIN, *TEST], "no segment of 'test' or 'train' has audio: results are those of the other modalities"),
    ],
)
def test_a_sensor_that_the_test_lacks_is_a_note(
    lacking: Any, note: str, write_small_store: Callable, tmp_path: Path
) -> None:
    trained, notes = run(write_small_store(SPLITS, lacking={"audio": lacking}), tmp_path / "run")
    assert notes == [note]
    assert list(trained.result["subsets"]) == ["rgb"]


def test_what_train_missing_takes_away_is_asked_for(write_small_store: Callable, tmp_path: Path) -> None:
    trained, notes = run(write_small_store(SPLITS), tmp_path / "run", train_missing={"audio": 1.0})
    assert (trained.result["n"], notes) == (8, [])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([-1] * 16 + [0] * 8, "split 'train' of .* has 0 labelled segments with tokens; at least 2"),
        ([0] * 16 + [-1] * 8, "split 'test' of .* has no labelled segment with cached tokens"),
    ],
)
def test_a_split_without_labels_is_refused(
    labels: list[int], message: str, write_small_store: Callable, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        run(write_small_store(SPLITS, labels=labels), tmp_path / "run", "karmma")
    assert list(tmp_path.iterdir()) == []


def test_classes_that_train_never_has_are_counted(write_small_store: Callable, tmp_path: Path) -> None:
    labels = [row % 2 for row in TRAIN] + [row % 3 for row in TEST]
    trained, notes = run(write_small_store(SPLITS, labels=labels), tmp_path / "run")
    strange = sum(row % 3 == 2 for row in TEST)
    assert notes == [
        f"1 class classes of 'test' have no segment to learn from ({strange} of 8 segments): none of these can be right"
    ]
    assert yaml.safe_load((trained.path / "summary.json").read_text())["notes"] == notes


def test_a_task_is_learned_where_train_has_labels_of_it(
    write_small_store: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that nothing labels in train gets no head; one that nothing labels in the test is not reported."""
    from mmcache.store import FeatureStore

    path = write_small_store(SPLITS, more=[-1] * 16 + [1] * 8, less=[1] * 16 + [-1] * 8)
    opened = FeatureStore.open
    extra = {"more": ["x", "y"], "less": ["x", "y"]}

    def with_tasks(*arguments: Any, **named: Any) -> FeatureStore:
        store = opened(*arguments, **named)
        store.meta.tasks.update(extra)
        return store

    monkeypatch.setattr(FeatureStore, "open", with_tasks)
    trained, notes = run(path, tmp_path / "run")
    assert notes == [
        "no segment of 'train' has a label of more: the run has no more head",
        "no segment of 'test' has a label of less: it is trained and not reported",
    ]
    assert list(Model.load(trained.path).spec.tasks) == ["class", "less"]
    assert list(trained.result["summary"]) == ["class"]


def test_a_teacher_that_no_loss_asks_is_named(write_small_store: Callable, tmp_path: Path) -> None:
    path = write_small_store(SPLITS)
    teacher, _ = run(path, tmp_path / "skip", "skip")
    _, notes = run(path, tmp_path / "karmma", "karmma", teacher=teacher.path, alpha=1.0)
    assert notes == ["no loss of karmma asks a teacher: --teacher is not used"]


@pytest.mark.parametrize(
    ("strategy", "options", "message"),
    [
        ("zeros", {"target": "rgb", "drop": 0.25}, "drop is not used: zeros draws its masks by the sampler none"),
        ("dropout", {"teacher": "somewhere"}, "dropout (.*) has no option teacher. It belongs to the strategy karmma"),
    ],
)
def test_options_that_a_run_does_not_have_are_refused(
    strategy: str, options: dict[str, Any], message: str, write_small_store: Callable, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message.replace("(.*)", r"\(.*\)")):
        run(write_small_store(SPLITS), tmp_path / "run", strategy, **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("k", "expected"), [(2, True), (6, False), (300, False)])
def test_averaging_means_again_is_a_note(k: int, expected: bool, write_small_store: Callable, tmp_path: Path) -> None:
    _, notes = run(write_small_store(SPLITS, k=6, tokens=6), tmp_path / "run", k=k)
    assert notes == [
        f"the 6 tokens of {name} are means already (--k 6 when they were cached); --k 2 averages them again, "
        "which is not the same as --k 2 when they are extracted"
        for name in ("audio", "rgb")
        if expected
    ]
    assert run(write_small_store(SPLITS, tokens=6), tmp_path / "whole", k=2)[1] == [], "all tokens are cached"


def test_a_sweep_says_it_before_it_starts(write_small_store: Callable, tmp_path: Path) -> None:
    path = write_small_store(SPLITS, lacking={"audio": range(16, 20), "rgb": range(20, 24)})
    spec = make_spec({"strategies": ["dropout", "karmma"], "stores": [str(path)], "fuse": QUICK}, "test")
    with pytest.raises(ConfigError, match=r"(?s)dropout: none of the 8 segments.*karmma: none of the 8 segments"):
        Planner(spec, tmp_path / "sweep").make_all()


def test_a_sweep_has_a_trial_for_every_fold_and_one_method(write_small_store: Callable, tmp_path: Path) -> None:
    path = write_small_store(SPLITS, person=[f"p{row % 3}" for row in range(24)])
    content = {"strategies": ["dropout"], "stores": [str(path)], "axes": {"fold": ["all"]}, "fuse": QUICK}
    planner = Planner(make_spec({**content, "flags": {"group": "person"}}, "test"), tmp_path / "sweep")
    planner.make_all()
    trials = list(planner.trials.values())
    assert [trial.options.data.protocol for trial in trials] == ["person=p0", "person=p1", "person=p2"]
    assert {trial.method for trial in trials} == {"dropout"}, "results are means over the folds"
    assert [trial.label for trial in trials] == [f"dropout fold=p{i} seed=0" for i in range(3)]
    with pytest.raises(ConfigError, match="fold=all needs --group COLUMN"):
        Planner(make_spec(content, "test"), tmp_path / "other").make_all()


def test_a_sweep_keeps_what_a_person_should_know(write_small_store: Callable, tmp_path: Path) -> None:
    """Both values of drop come to one trial of zeros, which uses neither."""
    content = {"strategies": ["zeros", "dropout"], "axes": {"drop": [0.25, 0.5]}, "fuse": QUICK}
    path = write_small_store(SPLITS)
    planner = Planner(make_spec({**content, "stores": [str(path)]}, "test"), tmp_path / "sweep")
    planner.make_all()
    assert [trial.method for trial in planner.trials.values()] == ["zeros", "dropout drop=0.25", "dropout drop=0.5"]
    assert planner.notes == ["drop is not an option of zeros, and their trials are the same for all its values"]


def test_numbers_name_folds_too(write_small_store: Callable, tmp_path: Path) -> None:
    """YAML reads them as numbers."""
    path = write_small_store(SPLITS, subject=np.arange(24) % 4)
    trained, _ = run(path, tmp_path / "run", group="subject", fold=3)
    assert trained.result["n"] == 6
