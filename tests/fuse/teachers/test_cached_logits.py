"""Cached logits of teachers, and the student that learns from them."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import zarr

from mmcache.fuse import Model, train
from mmcache.fuse.data.subsets import subset_index, subsets
from mmcache.fuse.options.resolve import resolve_options
from mmcache.fuse.runs.folder import RunFolder
from mmcache.fuse.runs.progress import Silent
from mmcache.fuse.teachers.cached_logits import CachedLogits
from mmcache.fuse.teachers.compute import cached_logits, check_fits, teacher_features, teacher_name
from mmcache.fuse.teachers.signals import TeacherSignals
from mmcache.fuse.training.loop import Training
from mmcache.fuse.training.train import TrainedRun
from mmcache.store import ConfigError, FeatureStore
from mmcache.store.exchange.npy_export import export_npy
from mmcache.store.exchange.npy_import import import_npy
from mmcache.store.load.loader import Loader

QUICK = {"width": 16, "heads": 2, "k": 6, "epochs": 2, "warmup": 0.0, "batch_size": 8, "device": "cpu"}


@pytest.fixture
def teacher(store_copy: Path, tmp_path: Path) -> TrainedRun:
    return train("karmma-teacher", {**QUICK, "store": store_copy, "out": tmp_path / "teacher"})


def test_logits_are_those_of_the_teacher_run_on_the_spot(teacher: TrainedRun, store_copy: Path) -> None:
    store = FeatureStore.open(store_copy)
    cached = cached_logits(teacher.path, store, "cpu")
    assert cached.modalities == ["audio", "imu", "rgb"]
    model = Model.load(teacher.path)
    rows = np.arange(len(store))
    present = store.presence_matrix()
    batch = Loader(store, None, rows, k=6).batch(rows)
    for s, mask in enumerate(subsets(3)):
        has = (present | ~mask).all(axis=1)
        tokens = {name: values[torch.from_numpy(has)] for name, values in batch.tokens.items()}
        with torch.inference_mode():
            logits = model(tokens, torch.from_numpy(np.tile(mask, (has.sum(), 1))))
        for task in ("verb", "noun"):
            stored = cached.logits[task][:, 0, s]
            np.testing.assert_allclose(stored[has].astype(np.float32), logits[task].numpy(), atol=2e-3, rtol=2e-3)
            assert np.isnan(stored[~has]).all()


def test_the_cache_has_the_documented_layout(teacher: TrainedRun, store_copy: Path) -> None:
    store = FeatureStore.open(store_copy)
    cached_logits(teacher.path, store, "cpu")
    group = zarr.open_group(store_copy / "logits" / teacher_name(teacher.path), mode="r")
    assert group.attrs["modalities"] == ["audio", "imu", "rgb"]
    assert group.attrs["subsets"][0] == "audio"
    assert group.attrs["subsets"][-1] == "audio+imu+rgb"
    for task in ("verb", "noun"):
        assert group[task].shape == (len(store), 1, 7, 6)
        assert group[task].dtype == np.float16


def test_logits_are_computed_once(teacher: TrainedRun, store_copy: Path) -> None:
    store = FeatureStore.open(store_copy)
    blocks = []
    cached_logits(teacher.path, store, "cpu", lambda done, total: blocks.append(done))
    assert blocks
    blocks.clear()
    cached_logits(teacher.path, store, "cpu", lambda done, total: blocks.append(done))
    assert not blocks


def test_get_logits_finds_the_subset_that_is_kept_in_the_view_that_was_drawn() -> None:
    logits = np.arange(2 * 2 * 7 * 3, dtype=np.float16).reshape(2, 2, 7, 3)
    logits[1, :, 3] = math.nan
    cached = CachedLogits(["audio", "imu", "rgb"], {"verb": logits})
    rows = np.array([1, 0, 1, 0])
    kept = np.array([[True, False, True], [False, True, False], [False, False, True], [False, False, False]])
    # The student's order; no imu, and flow is new. There is no view 2: the centre one stands in.
    found, known = cached.get_logits(rows, kept, ["rgb", "flow", "audio"], np.array([1, 0, 2, 0]))
    assert known.tolist() == [True, False, True, False]
    both, audio = (subset_index(np.array([mask]))[0] for mask in ([True, False, True], [True, False, False]))
    np.testing.assert_array_equal(found["verb"][0], logits[1, 1, both])
    np.testing.assert_array_equal(found["verb"][2], logits[1, 0, audio])


def test_full_sight_is_all_that_the_teacher_has_of_a_segment() -> None:
    """Whatever the student has: segment 0 has everything, 1 audio and IMU, 2 nothing."""
    logits = np.arange(3 * 7 * 2, dtype=np.float16).reshape(3, 1, 7, 2)
    logits[1, 0, [3, 4, 5, 6]] = math.nan
    logits[2] = math.nan
    cached = CachedLogits(["audio", "imu", "rgb"], {"verb": logits})
    found, known = cached.get_logits(np.array([1, 0, 2]), None, ["flow"])
    assert known.tolist() == [True, True, False]
    np.testing.assert_array_equal(found["verb"][:2], [logits[1, 0, 2], logits[0, 0, 6]])


@pytest.mark.holds("karmma", "3.2 with a = 1 the loss is CE, and no teacher is called")
def test_alpha_one_needs_no_teacher_and_none_is_trained(store_copy: Path, tmp_path: Path) -> None:
    trained = train("karmma", {**QUICK, "store": store_copy, "out": tmp_path / "run", "alpha": 1.0})
    assert trained.teacher is None
    assert not (tmp_path / "run-teacher").exists()
    assert not (store_copy / "logits").exists()


def test_a_given_teacher_is_used_and_named_in_the_identity(
    teacher: TrainedRun, store_copy: Path, tmp_path: Path
) -> None:
    options = {**QUICK, "store": store_copy, "teacher": teacher.path}
    trained = train("karmma", {**options, "out": tmp_path / "student"})
    assert trained.teacher is None
    other = train("karmma-teacher", {**QUICK, "store": store_copy, "out": tmp_path / "other", "seed": 1})
    with pytest.raises(ConfigError, match="holds another run"):
        train("karmma", {**options, "out": tmp_path / "student", "teacher": other.path})


def test_a_teacher_of_full_sight_sees_everything(teacher: TrainedRun, store_copy: Path, tmp_path: Path) -> None:
    options = {**QUICK, "store": store_copy, "teacher": teacher.path}
    same = train("karmma", {**options, "out": tmp_path / "same"})
    full = train("karmma", {**options, "out": tmp_path / "full", "teacher_mask": "full"})
    assert (same.path / "model.safetensors").read_bytes() != (full.path / "model.safetensors").read_bytes()


def test_a_teacher_that_does_not_fit_is_refused_with_reasons(
    teacher: TrainedRun, store_copy: Path, tmp_path: Path
) -> None:
    shutil.rmtree(store_copy / "tokens/imu")
    with pytest.raises(ConfigError, match="needs imu tokens of imu_demo"):
        train("karmma", {**QUICK, "store": store_copy, "out": tmp_path / "run", "teacher": teacher.path})


def test_a_folder_that_is_no_run_is_refused(store_copy: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a finished run"):
        train("karmma", {**QUICK, "store": store_copy, "out": tmp_path / "run", "teacher": tmp_path / "nowhere"})


def test_a_teacher_may_have_learned_in_another_store_whose_rows_are_found_by_id(
    teacher: TrainedRun, store_copy: Path, tmp_path: Path
) -> None:
    """The student's store has other tokens, no IMU, and its segments in another order, two of them new."""
    original = FeatureStore.open(store_copy)
    direct = cached_logits(teacher.path, original, "cpu")
    folder, other = tmp_path / "npy", tmp_path / "student.zarr"
    export_npy(original, folder)
    shutil.rmtree(folder / "imu")
    table = pd.read_csv(folder / "segments.csv", dtype=str).iloc[::-1].reset_index(drop=True)
    for row, name in ((0, "new_1"), (5, "new_2")):
        (folder / "rgb" / f"{table.loc[row, 'id']}.npy").rename(folder / "rgb" / f"{name}.npy")
        (folder / "audio" / f"{table.loc[row, 'id']}.npy").unlink(missing_ok=True)
        table.loc[row, "id"] = name
    table.to_csv(folder / "segments.csv", index=False)
    import_npy(folder, other)
    store = FeatureStore.open(other)
    with pytest.raises(ConfigError, match="needs imu tokens"):
        check_fits(teacher.path, store)
    found = cached_logits(teacher.path, store, "cpu")
    place = {name: row for row, name in enumerate(original.segments["id"])}
    for row, name in enumerate(store.segments["id"]):
        for task in ("verb", "noun"):
            expected = direct.logits[task][place[name]] if name in place else np.nan
            np.testing.assert_array_equal(found.logits[task][row], np.broadcast_to(expected, (1, 7, 6)))
    assert (store.segments["id"].isin(place)).sum() == len(store) - 2
    assert not (other / "logits").exists()
    trained = train("karmma", {**QUICK, "store": other, "out": tmp_path / "run", "teacher": teacher.path})
    assert "kd" in json.loads((trained.path / "metrics.jsonl").read_text().splitlines()[0])


def test_features_are_those_of_the_teacher_with_full_sight(teacher: TrainedRun, store_copy: Path) -> None:
    store = FeatureStore.open(store_copy)
    rows = store.rows("train")[::3]
    features = teacher_features(teacher.path, store, rows, "cpu")
    model, batch = Model.load(teacher.path), Loader(store, None, rows, k=6).batch(rows)
    with torch.inference_mode():
        expected = model.outputs(batch.tokens, batch.lengths, batch.present).penultimate()
    torch.testing.assert_close(features[torch.from_numpy(rows)], expected)
    others = np.setdiff1d(np.arange(len(store)), rows)
    assert features[torch.from_numpy(others)].isnan().all()


def test_several_given_teachers_are_an_ensemble_and_are_all_in_the_identity(
    teacher: TrainedRun, store_copy: Path, tmp_path: Path
) -> None:
    other = train("zeros", {**QUICK, "store": store_copy, "out": tmp_path / "other", "modalities": ["rgb"]})
    options = {**QUICK, "store": store_copy}
    both = train("karmma", {**options, "out": tmp_path / "both", "teacher": [teacher.path, other.path]})
    one = train("karmma", {**options, "out": tmp_path / "one", "teacher": [teacher.path]})
    assert (both.path / "model.safetensors").read_bytes() != (one.path / "model.safetensors").read_bytes()
    with pytest.raises(ConfigError, match="holds another run"):
        train("karmma", {**options, "out": tmp_path / "both", "teacher": [teacher.path]})


def test_what_a_teacher_draws_does_not_move_what_a_run_begins_with(
    epic_store: Path, tmp_path: Path, teachers: TeacherSignals
) -> None:
    """Its logits may be in the cache already or not; the auxiliary head of MMANet is made after them."""
    store, begun = FeatureStore.open(epic_store), []
    for draws in (0, 5):
        options = {"store": epic_store, "out": tmp_path / str(draws), "width": 16, "heads": 2, "k": 6, "device": "cpu"}
        made = resolve_options("mmanet", {"test": options})

        def ask(*_: object, draws: int = draws) -> TeacherSignals:
            torch.rand(draws)
            return teachers

        folder = RunFolder(made.run.out, "identity")
        training = Training(made, store, store.modalities, folder, ask, "cpu", Silent())
        begun.append(training.trained.state_dict())
    assert any(name.startswith("strategy.weak.head") for name in begun[0])
    for name, value in begun[0].items():
        assert torch.equal(value, begun[1][name]), name
