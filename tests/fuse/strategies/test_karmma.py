"""The invariants of KARMMA's learned tokens (methods.md 3.2).

Its loss is in test_objective.py, its teacher in test_teacher.py, k-Average in tests/store.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from mmcache.fuse import train
from mmcache.store import ConfigError


def test_karmma_s_mode_missing_adds_nothing_to_what_is_there(small_model: Callable, random_batch) -> None:
    """With s only where missing, changing s changes segments that lack something, and no other."""
    model = small_model("karmma", s_mode="missing")
    before = model(random_batch.tokens, random_batch.present)
    with torch.no_grad():
        for token in model.handler.specific_tokens:
            token.add_(1.0)
    after = model(random_batch.tokens, random_batch.present)
    complete = random_batch.present.all(dim=1)
    for task in before:
        changed = (before[task] != after[task]).any(dim=1)
        assert torch.equal(changed, ~complete)


@pytest.mark.holds("karmma-teacher", "3.2 the teacher's missing modalities are absent")
@pytest.mark.holds("karmma", "3.2 the number of tokens never changes")
def test_karmma_keeps_the_number_of_tokens(small_model: Callable, random_batch) -> None:
    """A missing modality is fed as n_m tokens: every vector counts in the average, whatever is missing."""
    outputs = small_model("karmma").outputs(random_batch.tokens, None, random_batch.present)
    assert outputs.valid.all()
    assert outputs.valid.shape == (7, 1 + 3)
    skipped = small_model("karmma-teacher").outputs(random_batch.tokens, None, random_batch.present)
    assert torch.equal(skipped.valid[:, 1:], random_batch.present)


QUICK = {"width": 8, "depth": 1, "heads": 2, "k": 4, "epochs": 1, "warmup": 0.0, "batch_size": 8, "device": "cpu"}
SPLITS = ["train"] * 16 + ["test"] * 8


@pytest.mark.parametrize("strategy", ["karmma", "mmanet", "radevski"])
def test_the_teacher_reads_what_teacher_modalities_says(
    strategy: str, write_small_store: Callable[..., Path], tmp_path: Path
) -> None:
    path = write_small_store(SPLITS)
    trained = train(strategy, {**QUICK, "store": path, "out": tmp_path / "run", "teacher_modalities": ["rgb"]})
    (teacher,) = trained.teachers
    assert list(yaml.safe_load((teacher.path / "config.yaml").read_text())["model"]["modalities"]) == ["rgb"]
    assert set(trained.result["subsets"]) == {"audio", "rgb", "audio+rgb"}
    line = json.loads((trained.path / "metrics.jsonl").read_text().splitlines()[0])
    assert line["mad" if strategy == "mmanet" else "kd"] > 0


@pytest.mark.parametrize(
    ("strategy", "options", "message"),
    [
        (
            "dropout",
            {"teacher_modalities": ["rgb"]},
            "no option teacher_modalities. It belongs to the strategy karmma",
        ),
        ("karmma", {"alpha": 1.0, "teacher_modalities": ["rgb"]}, "teacher_modalities: no loss of karmma asks"),
        ("karmma", {"teacher_modalities": []}, "teacher_modalities names none"),
        ("karmma", {"teacher_modalities": ["smell"]}, "unknown tokens 'smell'"),
        ("karmma", {"teacher_modalities": ["rgb"], "modalities": ["audio"]}, "teacher_mask same shows it what the run"),
        ("karmma", {"teacher": "gone", "teacher_modalities": ["rgb"]}, "teacher_modalities is for a teacher that is"),
    ],
)
def test_teacher_modalities_that_mean_nothing_are_refused(
    strategy: str, options: dict, message: str, write_small_store: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        train(strategy, {**QUICK, "store": write_small_store(SPLITS), "out": tmp_path / "run", **options})
    assert message in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_teacher_of_other_sensors_is_heard_with_full_sight(
    write_small_store: Callable[..., Path], tmp_path: Path
) -> None:
    options = {**QUICK, "store": write_small_store(SPLITS), "modalities": ["audio"], "teacher_modalities": ["rgb"]}
    trained = train("karmma", {**options, "out": tmp_path / "run", "teacher_mask": "full"})
    assert json.loads((trained.path / "metrics.jsonl").read_text().splitlines()[0])["kd"] > 0
    given = {**QUICK, "store": options["store"], "modalities": ["audio"], "teacher": trained.teachers[0].path}
    with pytest.raises(ConfigError, match="the teacher reads rgb, of which this run has none"):
        train("karmma", {**given, "out": tmp_path / "other"})
