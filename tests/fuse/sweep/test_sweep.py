"""Whole sweeps on Ray Tune: trained once, found again, early stopping and search included."""

import contextlib
import json
import warnings
from collections.abc import Callable

import psutil
import pytest

from mmcache.fuse.evaluation.evaluate import evaluate
from mmcache.fuse.sweep.results import method_rows
from mmcache.fuse.sweep.sweep import plan_sweep, run_sweep
from mmcache.store import ConfigError


@pytest.fixture(autouse=True)
def _tune_warns() -> None:
    """Tune and Ray warn of themselves."""
    warnings.simplefilter("ignore")


def test_a_sweep_trains_every_trial_once_in_warm_workers_and_tells_failures(plan: Callable, spec: Callable) -> None:
    planned = plan(strategies=["karmma", "skip", "dropout"], seeds=[0, 1], overrides={"dropout": {"lr": 1e4}})
    changes: list[tuple[str, str]] = []
    board = run_sweep(planned, lambda s: changes.append((s.trial.label, s.state)))
    states = {s.trial.label: s.state for s in board.standings.values()}
    assert {label for label, state in states.items() if state == "failed"} == {"dropout seed=0", "dropout seed=1"}
    assert len(states) == 2 * 4
    reasons = [s.reason or "" for s in board.standings.values() if s.state == "failed"]
    assert all("the loss became no number" in reason for reason in reasons)
    assert changes.index(("karmma-teacher seed=0", "finished")) < changes.index(("karmma seed=0", "running"))
    assert not (planned.out / ".tune").exists()
    (karmma, skip) = method_rows(board)
    assert (karmma.method, karmma.seeds, skip.method) == ("karmma", 2, "skip")
    results = [evaluate(s.trial.folder) for s in board.standings.values() if s.trial.method == "karmma"]
    mean = sum(result["subsets"]["rgb"]["action"]["top1"] for result in results) / 2
    assert karmma.subsets["rgb"] == pytest.approx(mean)

    again: list[str] = []
    finished = [s.trial.folder / "summary.json" for s in board.standings.values() if s.state == "finished"]
    written = [path.stat().st_mtime_ns for path in finished]
    without = plan_sweep(spec(strategies=["karmma", "skip"], seeds=[0, 1]), planned.out)
    more = run_sweep(without, lambda s: again.append(s.trial.label), resume=True)
    assert again == []
    assert all(s.state == "finished" and s.before for s in more.standings.values())
    assert [path.stat().st_mtime_ns for path in finished] == written


def test_a_folder_with_an_unfinished_other_sweep_is_refused(plan: Callable) -> None:
    planned = plan(strategies=["skip"])
    with pytest.raises(ConfigError, match="no sweep was begun"):
        run_sweep(planned, resume=True)
    planned.out.mkdir()
    (planned.out / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds other files"):
        run_sweep(planned)
    (planned.out / "notes.txt").unlink()
    (planned.out / "sweep.yaml").write_text(json.dumps({"strategies": ["mmt"]}))
    with pytest.raises(ConfigError, match="another sweep that is not finished"):
        run_sweep(planned)
    with pytest.raises(ConfigError, match="--pack 0"):
        run_sweep(planned, pack=0)


@pytest.mark.slow
def test_more_than_a_machine_has_is_told(plan: Callable) -> None:
    with pytest.raises(ConfigError, match=r"no node has 999 CPUs and 0 GPUs for a trial"):
        run_sweep(plan(strategies=["skip"], resources={"cpus": 999, "gpus": 0}))


@pytest.mark.slow
def test_asha_stops_what_does_worse_and_it_stays_stopped(plan: Callable) -> None:
    content = {
        "strategies": ["skip", "karmma"],
        "seeds": [0, 1, 2],
        "axes": {"lr": [1e-6, 1e-2]},
        "fuse": {"epochs": 6},
        "asha": {"grace": 1, "factor": 2},
    }
    board = run_sweep(plan(**content))
    stopped = [s for s in board.standings.values() if s.state == "stopped"]
    finished = [s for s in board.standings.values() if s.state == "finished"]
    assert len(stopped) + len(finished) == len(board.standings)
    assert stopped
    assert finished
    assert all(s.trial.role == "trial" and 1 <= s.epoch < 6 for s in stopped), "teachers are never stopped early"
    assert all(s.epoch == 6 for s in finished)
    assert "stopped early after epoch" in (stopped[0].reason or "")
    changes: list[str] = []
    again = run_sweep(plan(**content), lambda s: changes.append(s.trial.label))
    assert changes == []
    assert {i: s.state for i, s in again.standings.items()} == {i: s.state for i, s in board.standings.items()}


@pytest.mark.slow
def test_a_search_chooses_points_by_validation_and_goes_on_from_what_it_chose(plan: Callable) -> None:
    space = {"lr": {"loguniform": [1e-5, 1e-2]}, "drop": {"uniform": [0.1, 0.7]}}
    content = {"strategies": ["dropout"], "seeds": [0, 1], "search": {"num_samples": 4, "space": space}}
    planned = plan(**content)
    board = run_sweep(planned)
    trials = [s for s in board.standings.values() if s.trial.role == "trial"]
    assert [s.state for s in trials] == ["finished"] * 8
    points = {json.dumps(s.trial.point) for s in trials}
    assert len(points) == 4
    (file,) = (planned.out / "search").iterdir()
    assert len(file.read_text().splitlines()) == 4
    # As if killed over the third point, in the middle of writing the fourth.
    for standing in trials[4:]:
        (standing.trial.folder / "summary.json").unlink()
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:3]) + lines[3][:10])
    (planned.out / "sweep.done").unlink()
    changes: set[str] = set()
    again = run_sweep(plan(**content), lambda s: changes.add(s.trial.label))
    assert len([s for s in again.standings.values() if s.trial.role == "trial"]) == 8
    assert all(s.state == "finished" for s in again.standings.values())
    assert changes.isdisjoint({s.trial.label for s in trials[:4]})
    assert file.read_text().splitlines(keepends=True)[:3] == lines[:3]


@pytest.mark.slow
def test_workers_start_once_and_read_no_tokens(plan: Callable) -> None:
    planned = plan(strategies=["skip", "dropout", "mmt"], seeds=[0, 1])
    started: set[int] = set()

    def look(standing: object) -> None:
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                title = " ".join(child.cmdline())  # Ray's, which says what it is at
                if "GroupWorker" in title or "ResourceTrainable" in title:
                    started.add(child.pid)

    board = run_sweep(planned, look)
    assert all(s.state == "finished" for s in board.standings.values())
    assert 1 <= len(started) <= (psutil.cpu_count() or 1), "one process a place, whatever the number of trials"
