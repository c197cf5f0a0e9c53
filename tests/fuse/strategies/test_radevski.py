"""The invariants of ensemble distillation (methods.md 3.3)."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from mmcache.fuse import train
from mmcache.fuse.parts.losses.distillation import distillation
from mmcache.fuse.teachers.cached_logits import CachedLogits
from mmcache.fuse.teachers.ensemble import Ensemble

QUICK = {"width": 16, "heads": 2, "k": 6, "epochs": 2, "warmup": 0.0, "batch_size": 8, "device": "cpu"}
N, CLASSES = 12, 4
NAMES = ["audio", "imu", "rgb"]
RANDOM = np.random.default_rng(0)
LABELS = {"verb": RANDOM.integers(CLASSES, size=N)}
EVERYTHING = np.ones((N, 3), bool)
ROWS = np.arange(N)


def members(quality: tuple[float, ...] = (0.0, 1.0, 4.0)) -> list[CachedLogits]:
    """Unimodal teachers whose logit of the true class is raised by `quality`."""
    out = []
    for name, raised in zip(NAMES, quality, strict=True):
        logits = RANDOM.normal(size=(N, 1, 1, CLASSES)).astype(np.float16)
        logits[ROWS, 0, 0, LABELS["verb"]] += raised
        out.append(CachedLogits([name], {"verb": logits}))
    return out


def weights(ensemble: Ensemble, kept: np.ndarray = EVERYTHING) -> torch.Tensor:
    """(N, J), found from answers in which teacher j says j-th power of 10."""
    each = [m.get_logits(ROWS, kept, NAMES)[0]["verb"] for m in ensemble.members]
    logits = torch.stack(each, dim=1)
    return ensemble._weights("verb", [0, 1, 2], logits, logits.isfinite().all(dim=2), ROWS)


@pytest.mark.holds("radevski", "3.3 weights add up to 1: uniform for tau -> inf, the best teacher for tau -> 0")
@pytest.mark.parametrize("kind", ["uniform", "dataset", "sample"])
@pytest.mark.parametrize("temperature", [0.01, 1.0, 1e6])
def test_weights_add_up_to_one(kind: str, temperature: float) -> None:
    found = weights(Ensemble(members(), kind, temperature, LABELS, ROWS[:6]))
    torch.testing.assert_close(found.sum(dim=1), torch.ones(N))
    if kind == "uniform" or temperature == 1e6:
        torch.testing.assert_close(found, torch.full((N, 3), 1 / 3), atol=1e-4, rtol=0)
    elif temperature == 0.01:
        assert (found.amax(dim=1) > 0.99).float().mean() > 0.9
        if kind == "dataset":
            assert found.argmax(dim=1).tolist() == [2] * N


@pytest.mark.holds("radevski", "3.3 equal CE gives equal weights")
def test_equally_good_teachers_weigh_the_same() -> None:
    twin = members()[0]
    for kind in ("dataset", "sample"):
        found = weights(Ensemble([twin, twin, twin], kind, 1.0, LABELS, ROWS))
        # Each answers to its own modality, and all are there.
        torch.testing.assert_close(found, torch.full((N, 3), 1 / 3))


def test_the_weights_of_a_sample_are_the_softmin_of_its_losses() -> None:
    teachers = members()
    found = weights(Ensemble(teachers, "sample", 0.7, LABELS, ROWS))
    losses = torch.stack(
        [
            torch.nn.functional.cross_entropy(
                torch.from_numpy(t.logits["verb"][:, 0, 0].astype(np.float32)),
                torch.from_numpy(LABELS["verb"]),
                reduction="none",
            )
            for t in teachers
        ],
        dim=1,
    )
    torch.testing.assert_close(found, (-losses / 0.7).softmax(dim=1))


@pytest.mark.holds("radevski", "3.3 weights are renormalised over the teachers that see something")
@pytest.mark.parametrize("kind", ["uniform", "dataset", "sample"])
def test_without_a_modality_the_others_weigh_more(kind: str) -> None:
    ensemble = Ensemble(members(), kind, 1.0, LABELS, ROWS[:6])
    kept = EVERYTHING.copy()
    kept[:, 2] = False
    full, fewer = weights(ensemble), weights(ensemble, kept)
    assert not fewer[:, 2].any()
    torch.testing.assert_close(fewer[:, :2], full[:, :2] / full[:, :2].sum(dim=1, keepdim=True))
    kept[0] = False
    answers, known = ensemble.get_logits(ROWS, kept, NAMES)
    assert known.tolist() == [False] + [True] * (N - 1)
    assert answers["verb"].isfinite().all()


def test_the_answer_is_the_weighted_sum_of_logits() -> None:
    ensemble = Ensemble(members(), "uniform", 1.0, LABELS, ROWS)
    expected = np.mean([m.logits["verb"][:, 0, 0].astype(np.float32) for m in ensemble.members], axis=0)
    np.testing.assert_allclose(ensemble.get_logits(ROWS, EVERYTHING, NAMES)[0]["verb"].numpy(), expected, rtol=1e-5)


@pytest.mark.holds("radevski", "3.3 s = t gives L = 0")
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_a_student_that_agrees_loses_nothing_and_temperature_keeps_the_scale(temperature: float) -> None:
    logits = torch.randn(6, CLASSES, generator=torch.Generator().manual_seed(0))
    other = torch.randn(6, CLASSES, generator=torch.Generator().manual_seed(1))
    known = torch.ones(6, dtype=torch.bool)
    assert float(distillation({"verb": logits}, {"verb": logits}, known, temperature)) == pytest.approx(0, abs=1e-6)
    p, q = ((x / temperature).softmax(-1) for x in (other, logits))
    expected = temperature**2 * (p * (p / q).log()).sum(-1).mean()
    torch.testing.assert_close(distillation({"verb": logits}, {"verb": other}, known, temperature), expected)
    two = distillation({"verb": logits, "noun": logits}, {"verb": other, "noun": other}, known, temperature, "mean")
    torch.testing.assert_close(two, expected)


def test_teachers_are_trained_once_one_a_modality(store_copy: Path, tmp_path: Path) -> None:
    options = {**QUICK, "store": store_copy}
    trained = train("radevski", {**options, "out": tmp_path / "run"})
    assert [run.path.name for run in trained.teachers] == ["run-teacher-audio", "run-teacher-imu", "run-teacher-rgb"]
    assert [sorted(run.result["subsets"]) for run in trained.teachers] == [["audio"], ["imu"], ["rgb"]]
    losses = json.loads((trained.path / "metrics.jsonl").read_text().splitlines()[0])
    assert losses["loss"] == pytest.approx(losses["kd"])
    assert math.isfinite(losses["ce"])
    again = train("radevski", {**options, "out": tmp_path / "run", "ensemble": "uniform"})
    assert again.was_finished
    assert all(run.was_finished for run in again.teachers)


@pytest.mark.parametrize("kind", ["dataset", "sample"])
def test_a_student_of_one_modality_has_teachers_of_several(kind: str, store_copy: Path, tmp_path: Path) -> None:
    options = {**QUICK, "store": store_copy, "modalities": ["imu"], "ensemble": kind}
    trained = train("radevski", {**options, "out": tmp_path / "run", "teacher_modalities": ["audio", "rgb"]})
    assert [run.path.name for run in trained.teachers] == ["run-teacher-audio", "run-teacher-rgb"]
    assert list(trained.result["subsets"]) == ["imu"]
    # It hears its teachers although it has none of what they look at.
    assert json.loads((trained.path / "metrics.jsonl").read_text().splitlines()[0])["kd"] > 1e-4


def test_a_teacher_that_is_too_sure_is_brought_to_its_temperature() -> None:
    """Each task by itself, on held-out rows alone; no answer changes its rank."""
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((4000, 1, 1, 5))
    labels = (logits[:, 0, 0] + rng.gumbel(size=(4000, 5))).argmax(axis=1)
    sure = CachedLogits(["rgb"], {"verb": (5 * logits).astype(np.float16), "noun": logits.astype(np.float16)})
    labels[2000:] = 0  # not held out: must not be looked at
    calibrated = sure.calibrated({"verb": labels, "noun": labels}, np.arange(2000))
    for task in ("verb", "noun"):
        np.testing.assert_allclose(calibrated.logits[task], logits, rtol=0.15, atol=0.01)
        assert (calibrated.logits[task].argmax(-1) == sure.logits[task].argmax(-1)).mean() > 0.999


def test_teachers_are_calibrated_where_asked(store_copy: Path, tmp_path: Path) -> None:
    given = {**QUICK, "store": store_copy}
    first = train("radevski", {**given, "out": tmp_path / "plain"})
    given["teacher"] = [run.path for run in first.teachers]
    again = train("radevski", {**given, "calibrate": True, "out": tmp_path / "calibrated"})
    kd = [json.loads((run.path / "metrics.jsonl").read_text().splitlines()[0])["kd"] for run in (first, again)]
    assert abs(kd[0] - kd[1]) > 1e-4
