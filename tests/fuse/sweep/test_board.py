"""How trials stand: what waits for what, and what a failure takes with it."""

from collections.abc import Callable

import pytest


@pytest.fixture
def board(plan: Callable) -> Callable:
    def make(**content: object) -> tuple:
        changes: list[tuple[str, str]] = []
        planned = plan(**content)
        return planned.board(lambda s: changes.append((s.trial.options.name, s.state))), changes

    return make


def test_students_wait_for_their_teacher_and_fail_with_it(board: Callable) -> None:
    standings, changes = board(strategies=["karmma", "skip"], seeds=[0, 1])
    ready = standings.ready()
    assert sorted(trial.options.name for trial in ready) == ["karmma-teacher", "karmma-teacher", "skip", "skip"]
    first, second = (trial for trial in ready if trial.role == "teacher")
    standings.fail(first.identity, "out of luck")
    standings.take({"identity": second.identity, "state": "finished"})
    ready = standings.ready()
    assert [(t.options.name, t.options.run.seed) for t in ready if t.role == "trial" and t.needs] == [("karmma", 1)]
    failed = [s for s in standings.standings.values() if s.state == "failed"]
    assert {s.trial.options.name for s in failed} == {"karmma-teacher", "karmma"}
    assert any("builds on karmma-teacher seed=0, which failed: out of luck" in (s.reason or "") for s in failed)
    assert ("karmma", "failed") in changes


def test_an_end_is_an_end(board: Callable) -> None:
    """A worker in the place of a dead one tells of runs that had ended."""
    standings, _ = board(strategies=["skip"])
    (trial,) = standings.ready()
    standings.start(trial)
    standings.take(
        {"identity": trial.identity, "state": "running", "epoch": 1, "epochs": 2, "loss": 1.0, "validation": 5.0}
    )
    standing = standings.standings[trial.identity]
    assert (standing.state, standing.epoch, standing.validation) == ("running", 1, 5.0)
    standings.take({"identity": trial.identity, "state": "failed", "reason": "x"})
    standings.take({"identity": trial.identity, "state": "running"})
    assert (standing.state, standing.reason) == ("failed", "x")
    assert standings.all_ended


def test_what_was_stopped_early_stays_stopped(board: Callable, plan: Callable) -> None:
    standings, _ = board(strategies=["skip"])
    (trial,) = standings.ready()
    standings.stop_early(trial.identity)
    again = plan(strategies=["skip"]).board(lambda standing: None)
    (standing,) = again.standings.values()
    assert (standing.state, standing.before) == ("stopped", True)
