"""The recipe of a sweep, the controls of its strategies, and options that only some of its strategies have."""

from collections.abc import Callable

import pytest

from mmcache.fuse.options.options import Options
from mmcache.fuse.sweep.results import as_json
from mmcache.fuse.sweep.sweep import Sweep
from mmcache.fuse.sweep.trials import Trial
from mmcache.store import ConfigError

Plan = Callable[..., Sweep]


def trials_of(planned: Sweep) -> dict[str, Trial]:
    """Label -> trial, without the runs that others build on."""
    return {trial.label: trial for trial in planned.planner.trials.values() if trial.role == "trial"}


def by_method(planned: Sweep) -> dict[str, Options]:
    """Method -> options, of a sweep of one seed."""
    return {trial.method: trial.options for trial in trials_of(planned).values()}


def test_matched_gives_all_strategies_one_network_and_schedule(plan: Plan) -> None:
    """What is left between mmt and dropout is the handler, and what the handler has of its own."""
    made = by_method(plan(strategies=["mmt", "dropout"]))
    mmt, dropout = made["mmt"].flat(), made["dropout"].flat()
    differing = {name for name in {*mmt, *dropout} if mmt.get(name) != dropout.get(name)}
    assert differing - {"out"} == {"handler", "replace_shares", "freeze_tokens"}
    assert {options.recipe for options in made.values()} == {"matched"}


def test_published_gives_each_its_papers(plan: Plan) -> None:
    made = by_method(plan(strategies=["mmt", "dropout"], recipe="published"))
    assert (made["mmt"].network.head, made["dropout"].network.head) == ("per_modality", "shared")
    assert (made["mmt"].drop, made["dropout"].drop) == (0.25, 0.5)
    assert {options.recipe for options in made.values()} == {"published"}


def test_results_say_the_recipe_of_the_sweep_and_of_every_trial(plan: Plan) -> None:
    planned = plan(strategies=["karmma"], recipe="published")
    found = as_json(planned.board(lambda standing: None), planned.spec.recipe, planned.out, 0.0)
    assert found["recipe"] == "published"
    assert [(t["strategy"], t["recipe"]) for t in found["trials"]] == [
        ("karmma-teacher", "published"),
        ("karmma", "published"),
    ]


def test_the_control_of_a_published_trial_has_all_but_its_idea(plan: Plan) -> None:
    """mmt's control is dropout with mmt's head, smoothing and rate; dropout's own is zeros with dropout's."""
    made = by_method(plan(strategies=["mmt", "dropout"], recipe="published", with_controls=True))
    assert set(made) == {"mmt", "dropout", "dropout (control of mmt)", "zeros (control of dropout)"}
    mmt, control = made["mmt"], made["dropout (control of mmt)"]
    assert (control.network.head, control.optimiser.label_smoothing, control.drop) == ("per_modality", 0.3, 0.25)
    assert control.network.positions
    assert (mmt.network.handler, control.network.handler) == ("token", "zeros")
    mine, others = control.flat(), mmt.flat()
    assert {name for name in mine if mine[name] != others.get(name)} == {"handler", "out"}
    zeros = made["zeros (control of dropout)"]
    assert (zeros.masks.sampler, zeros.data.train_on, zeros.drop) == ("none", "complete", 0.0)


def test_under_matched_a_control_is_the_trial_itself_once(plan: Plan) -> None:
    """Whatever the order in which a sweep names them."""
    for strategies in (["mmt", "dropout", "zeros"], ["zeros", "dropout", "mmt"]):
        assert list(trials_of(plan(strategies=strategies, with_controls=True))) == [
            f"{name} seed=0" for name in strategies
        ]


def test_a_control_that_strategies_share_is_made_once_and_named_for_all(plan: Plan) -> None:
    content = {"strategies": ["mmt", "actionmae", "karmma"], "seeds": [0, 1], "axes": {"drop": [0.3, 0.5]}}
    made = trials_of(plan(**content, with_controls=True))
    controls = {label: trial for label, trial in made.items() if "control" in label}
    assert set(controls) == {
        f"{name} drop={drop} seed={seed}"
        for name in ("dropout (control of mmt, actionmae)", "moddrop (control of karmma)")
        for drop in (0.3, 0.5)
        for seed in (0, 1)
    }
    for label, trial in controls.items():
        assert f"drop={trial.options.drop:g} seed={trial.options.run.seed}" in label
    assert controls["moddrop (control of karmma) drop=0.3 seed=0"].options.network.modality_embedding


def test_a_control_does_not_vary_with_an_option_that_it_has_not(plan: Plan) -> None:
    made = trials_of(plan(strategies=["mmt"], axes={"freeze_tokens": [False, True]}, with_controls=True))
    assert set(made) == {
        "mmt freeze_tokens=False seed=0",
        "mmt freeze_tokens=True seed=0",
        "dropout (control of mmt) seed=0",
    }


def test_a_strategy_without_an_option_of_an_axis_has_one_trial_and_a_note(plan: Plan) -> None:
    planned = plan(strategies=["mmt", "skip", "dropout"], axes={"freeze_tokens": [False, True]})
    assert set(trials_of(planned)) == {
        "mmt freeze_tokens=False seed=0",
        "mmt freeze_tokens=True seed=0",
        "skip seed=0",
        "dropout seed=0",
    }
    assert planned.planner.notes == [
        "freeze_tokens is not an option of skip and dropout, and their trials are the same for all its values"
    ]


def test_an_option_for_all_that_some_have_is_noted_and_nothing_more(plan: Plan) -> None:
    planned = plan(strategies=["mmt", "dropout"], fuse={"freeze_tokens": True})
    assert by_method(planned)["mmt"].flat()["freeze_tokens"] is True
    assert planned.planner.notes == ["freeze_tokens is not an option of dropout"]


@pytest.mark.parametrize("where", ["axes", "fuse", "flags"])
def test_an_option_that_no_strategy_has_is_refused_with_the_hint(where: str, plan: Plan) -> None:
    value = ["always", "missing"] if where == "axes" else "missing"
    with pytest.raises(ConfigError, match=r"has no option s_mode\. It belongs to .*karmma"):
        plan(strategies=["mmt", "dropout"], **{where: {"s_mode": value}})


def test_an_override_is_for_one_strategy_and_refused_where_that_has_not_the_option(plan: Plan) -> None:
    with pytest.raises(ConfigError, match=r"mmt: overrides: mmt .* has no option s_mode"):
        plan(strategies=["mmt", "karmma"], overrides={"mmt": {"s_mode": "missing"}})
