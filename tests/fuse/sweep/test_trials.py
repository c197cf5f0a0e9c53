"""Trials: one a combination, teachers shared, identities that say what is trained."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mmcache.fuse.runs.progress import Silent
from mmcache.fuse.sweep.groups import Request, form_groups, pack_requests, run_group, unpack_requests
from mmcache.fuse.training.train import train_layers
from mmcache.store import ConfigError, FeatureStore
from mmcache.store.ground.lock import writer_lock


def test_every_combination_once_and_teachers_once_a_seed(plan: Callable) -> None:
    content = {"strategies": ["dropout", "karmma", "radevski"], "seeds": [0, 1], "axes": {"drop": [0.3, 0.5]}}
    planned = plan(**content, recipe="published")
    trials = list(planned.planner.trials.values())
    # radevski draws no masks as published: both values of drop are one trial of it.
    assert sum(trial.role == "trial" for trial in trials) == (2 * 2 + 1) * 2
    assert sum(trial.options.name == "karmma-teacher" for trial in trials) == 2
    alone = [trial for trial in trials if trial.role == "teacher" and trial.options.name != "karmma-teacher"]
    assert len(alone) == 2 * 3, "one a modality and seed"
    assert len({trial.folder for trial in trials}) == len({trial.label for trial in trials}) == len(trials)
    place = {trial.identity: i for i, trial in enumerate(trials)}
    for i, trial in enumerate(trials):
        assert all(place[name] < i for name in trial.needs)
        for name in trial.teachers:
            assert planned.planner.trials[name].options.run.seed == trial.options.run.seed


def test_a_teacher_that_is_a_trial_too_is_trained_once(plan: Callable) -> None:
    planned = plan(strategies=["karmma", "karmma-teacher"])
    roles = {trial.options.name: trial.role for trial in planned.planner.trials.values()}
    assert roles == {"karmma": "trial", "karmma-teacher": "trial"}
    requests = {t.options.name: Request.of(t, planned.planner.trials) for t in planned.planner.trials.values()}
    assert requests["karmma-teacher"].teaches
    assert not requests["karmma"].teaches


def test_overrides_stand_in_the_place_of_axes_and_flags_win(spec: Callable, plan: Callable) -> None:
    planned = plan(
        strategies=["skip", "dropout"],
        axes={"drop": [0.3, 0.5]},
        overrides={"skip": {"lr": 0.01}},
        fuse={"lr": 0.002, "epochs": 9},
        flags={"epochs": 4},
    )
    made = [trial.options for trial in planned.planner.trials.values()]
    assert [(o.name, o.drop, o.optimiser.lr, o.optimiser.epochs) for o in made] == [
        ("skip", 0.0, 0.01, 4),
        ("dropout", 0.3, 0.002, 4),
        ("dropout", 0.5, 0.002, 4),
    ]


def test_what_does_not_fit_the_store_is_told_at_once_for_all(plan: Callable) -> None:
    with pytest.raises(ConfigError) as told:
        plan(strategies=["dropout", "mmt"], seeds=[0, 1], flags={"target": "smell", "drop": 0.5, "eval_split": "tset"})
    assert str(told.value).count("unknown target modality 'smell'") == 2, "once a strategy"
    assert "Did you mean 'test'" in str(told.value)


def test_requests_travel_as_text(plan: Callable) -> None:
    planned = plan(strategies=["karmma", "map"])
    requests = [Request.of(trial, planned.planner.trials) for trial in planned.planner.trials.values()]
    assert unpack_requests(pack_requests(requests)) == requests
    assert {request.init_from is not None for request in requests} == {True, False}


def test_groups_keep_the_order_and_their_size(plan: Callable) -> None:
    trials = list(plan(strategies=["skip"], seeds=[0, 1, 2, 3, 4]).planner.trials.values())
    assert [len(group) for group in form_groups(trials, "off")] == [1] * 5
    assert [len(group) for group in form_groups(trials, "auto", at_once=1)] == [5]
    assert [len(group) for group in form_groups(trials, "auto", at_once=2)] == [3, 2]
    assert [len(group) for group in form_groups(trials, 2)] == [2, 2, 1]
    assert [trial for group in form_groups(trials, 2) for trial in group] == trials


def test_a_group_comes_to_the_bytes_of_separate_runs_and_a_failure_stops_none(
    plan: Callable, store_copy: Path, tmp_path: Path, tiny: dict
) -> None:
    """Learning at a rate of 10,000 ends in numbers that are none."""
    planned = plan(strategies=["karmma", "dropout", "skip"], seeds=[1], overrides={"dropout": {"lr": 1e4}})
    requests = [Request.of(trial, planned.planner.trials) for trial in planned.planner.trials.values()]
    group = run_group(requests, lambda path, protocol: FeatureStore.open(path), lambda request: Silent())
    ended = {request.options.name: (request, outcome) for request, outcome in group}
    assert "the loss became no number" in str(ended["dropout"][1])
    layers = {"fuse": tiny, "flags": {"store": store_copy, "seed": 1, "out": tmp_path / "alone"}}
    alone = train_layers("karmma", layers, Silent(), planned.spec.recipe)
    assert alone.teacher is not None
    for strategy, path in (("karmma", alone.path), ("karmma-teacher", alone.teacher.path)):
        mine = ended[strategy][0].folder / "model.safetensors"
        assert mine.read_bytes() == (path / "model.safetensors").read_bytes()
    states = {s.trial.options.name: s.state for s in planned.board(lambda standing: None).standings.values()}
    assert states == {"karmma-teacher": "finished", "karmma": "finished", "dropout": "waiting", "skip": "finished"}


def test_a_run_that_another_process_is_at_is_left_alone(
    plan: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from mmcache.fuse.sweep import groups

    monkeypatch.setattr(groups, "_GONE_S", 0.3)
    planned = plan(strategies=["skip"])
    (trial,) = planned.planner.trials.values()
    request = Request.of(trial, planned.planner.trials)
    trial.folder.parent.mkdir(parents=True)
    with writer_lock(trial.folder):
        ((_, outcome),) = run_group([request], lambda path, protocol: FeatureStore.open(path), lambda r: Silent())
    assert "is being written by another process" in str(outcome)
