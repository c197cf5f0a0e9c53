"""From options to a graph of runs, before anything is trained."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmcache.fuse import train
from mmcache.fuse.strategies import STRATEGIES
from mmcache.fuse.training.plan import AXES, RUN, START, TEACHER, PlannedRun, plan_run
from mmcache.fuse.training.stores import Stores

QUICK = {"width": 8, "heads": 2, "k": 4, "epochs": 1, "batch_size": 16, "device": "cpu"}
NEEDS = {
    "karmma": ["karmma-teacher"], "mmanet": ["zeros"], "radevski": ["skip", "skip"], "map": ["zeros"],
    "map-attention": ["zeros"],
}  # fmt: skip


@pytest.fixture(scope="module")
def store(write_small_store: Callable[..., Path]) -> Path:
    return write_small_store(["train"] * 12 + ["test"] * 6)


def plan(strategy: str, store: Path, recipe: str = "published", **flags: Any) -> PlannedRun:
    return plan_run(strategy, {"flags": {**QUICK, "store": store, **flags}}, recipe, Stores())


@pytest.mark.parametrize("recipe", ["published", "matched"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_plan_names_what_a_run_needs_first(strategy: str, recipe: str, store: Path) -> None:
    planned = plan(strategy, store, recipe)
    assert [run.options.strategy for run in planned.needs] == NEEDS.get(strategy, [])
    assert list(planned.all()) == [*planned.needs, planned]
    role = START if strategy.startswith("map") else TEACHER
    assert [run.role for run in planned.all()] == [role] * len(planned.needs) + [RUN]
    assert planned.folder == Path("runs") / store.stem / f"{strategy}-{planned.identity}"
    assert {run.options.recipe for run in planned.all()} == {recipe}
    assert len({run.identity for run in planned.all()}) == 1 + len(planned.needs)
    assert not planned.folder.exists()


def test_a_start_has_the_backbone_of_the_run(store: Path) -> None:
    planned = plan("map", store, depth=3, width=16)
    assert planned.init_from is not None
    first = planned.init_from.options
    assert (first.network.depth, first.network.width, first.network.freeze) == (3, 16, False)
    assert first.network.handler == "zeros"


def test_axes_are_of_one_run_and_its_teachers_stay_the_same(store: Path) -> None:
    def teacher(**axes: Any) -> str:
        layers = {"fuse": {**QUICK, "store": store}, AXES: axes}
        (first,) = plan_run("karmma", layers, "published", Stores(), lenient=("fuse", AXES)).teachers
        return first.identity

    assert teacher() == teacher(alpha=0.5) == teacher(lr=0.1) == teacher(width=16)
    assert teacher() != teacher(seed=1)
    assert teacher() != teacher(validation=0.5)


def test_teachers_of_one_modality_each_are_named_by_it(store: Path, tmp_path: Path) -> None:
    planned = plan("radevski", store, out=tmp_path / "run")
    assert [run.options.data.modalities for run in planned.teachers] == [["audio"], ["rgb"]]
    assert [run.folder.name for run in planned.teachers] == ["run-teacher-audio", "run-teacher-rgb"]
    (one,) = plan("radevski", store, teacher_modalities=["rgb"]).teachers
    assert one.options.data.modalities == ["rgb"]


def test_identity_does_not_change_with_places(store: Path, tmp_path: Path) -> None:
    """A store, a teacher and a start that moved are the same ones."""
    teacher = train("skip", {**QUICK, "store": store, "out": tmp_path / "teacher"}).path
    first = train("zeros", {**QUICK, "store": store, "out": tmp_path / "first"}).path
    moved = {run: Path(shutil.copytree(run, tmp_path / "moved" / run.name)) for run in (store, teacher, first)}
    flags: dict[str, Any] = {"teacher": teacher, "init_from": first}
    identity = plan("karmma", store, **flags).identity
    elsewhere = {"out": tmp_path / "out", "resident": "disk", "tensorboard": True, "device": "auto"}
    elsewhere |= {"teacher": moved[teacher], "init_from": moved[first]}
    assert plan("karmma", moved[store], **elsewhere).identity == identity
    others = [plan("karmma", store, **{**flags, **other}).identity for other in (
        {"teacher": first}, {"init_from": teacher}, {"teacher": [teacher, first]}, {"init_from": None}, {"seed": 1},
    )]  # fmt: skip
    assert len({identity, *others}) == 6


def test_another_store_makes_another_run(store: Path, write_small_store: Callable[..., Path]) -> None:
    other = write_small_store(["train"] * 12 + ["test"] * 6, labels=[0] * 18)
    assert plan("mmt", store).identity != plan("mmt", other).identity
