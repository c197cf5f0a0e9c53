"""Sweeps that are killed: the same command goes on, and ends with the bytes of one that nobody disturbed."""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def content(store: Path, tiny: dict[str, Any]) -> dict[str, Any]:
    return {
        "strategies": ["karmma", "dropout", "map"],
        "stores": [str(store)],
        "seeds": [0, 1],
        "fuse": {**tiny, "epochs": 5},
    }


def table(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Methods and their figures, without where they lie."""
    return [{name: value for name, value in row.items() if name != "store"} for row in result["methods"]]


def wait_for_epochs(run: Any, count: int) -> None:
    until = time.monotonic() + 200
    while run.epochs() < count:
        assert run.process.poll() is None, run.process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kill", [os.killpg, os.kill], ids=["all its processes", "the first process alone"])
def test_killed_at_any_moment_it_goes_on_to_the_same_table(
    kill: Callable[[int, int], None],
    command: Any,
    fresh_copy: Callable[[str], Path],
    tiny: dict[str, Any],
    tmp_path: Path,
    weights_of: Callable[[Path], dict[str, bytes]],
) -> None:
    code, whole, errors = command(content(fresh_copy("whole"), tiny), tmp_path / "undisturbed").end()
    assert code == 0, errors
    seed = random.randrange(10**6)
    rng = random.Random(seed)
    store, out = fresh_copy("killed"), tmp_path / "out"
    for epochs in sorted(rng.sample(range(1, 48), 3)):  # of 50
        run = command(content(store, tiny), out)
        wait_for_epochs(run, epochs)
        time.sleep(rng.uniform(0, 0.3))
        kill(run.process.pid, signal.SIGKILL)
        run.process.communicate()
    code, result, errors = command(content(store, tiny), out, "--resume").end()
    assert code == 0, f"seed {seed}: {errors}"
    assert table(result) == table(whole), f"seed {seed}"
    mine, theirs = weights_of(out), weights_of(tmp_path / "undisturbed")
    assert len(mine) == 10
    assert mine == theirs, f"seed {seed}"


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(
    sent: signal.Signals, command: Any, store_copy: Path, tiny: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run = command(content(store_copy, tiny), out)
    wait_for_epochs(run, 8)
    os.kill(run.process.pid, sent)
    code, _, errors = run.end()
    assert code == 1, errors
    assert "Traceback" not in errors
    assert "of 10 trials ended" in errors
    assert "the same command goes on from there" in errors
    code, result, errors = command(content(store_copy, tiny), out).end()
    assert code == 0, errors
    assert result["counts"] == {"finished": 10, "stopped": 0, "failed": 0}
