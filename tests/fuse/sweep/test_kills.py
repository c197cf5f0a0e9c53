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


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kill", [os.killpg, os.kill], ids=["all its processes", "the first process alone"])
def test_killed_at_any_moment_it_goes_on_to_the_same_table(
    kill: Callable[[int, int], None],
    command: Any,
    undisturbed: Any,
    outcome: Any,
    fresh_copy: Callable[[str], Path],
    tiny: dict[str, Any],
    tmp_path: Path,
) -> None:
    expected = undisturbed(lambda store: content(store, tiny))
    seed = random.randrange(10**6)
    rng = random.Random(seed)
    store, out = fresh_copy("killed"), tmp_path / "out"
    for epochs in sorted(rng.sample(range(1, 48), 3)):  # of 50
        run = command(content(store, tiny), out)
        run.wait_for_epochs(epochs)
        time.sleep(rng.uniform(0, 0.3))
        kill(run.process.pid, signal.SIGKILL)
        run.process.communicate()
    code, result, errors = command(content(store, tiny), out, "--resume").end()
    assert code == 0, f"seed {seed}: {errors}"
    table, weights = outcome(result, out)
    assert len(weights) == 10
    assert (table, weights) == expected, f"seed {seed}"


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(
    sent: signal.Signals, command: Any, store_copy: Path, tiny: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run = command(content(store_copy, tiny), out)
    run.wait_for_epochs(8)
    os.kill(run.process.pid, sent)
    code, _, errors = run.end()
    assert code == 128 + sent, errors
    assert "Traceback" not in errors
    assert "of 10 trials ended" in errors
    assert "the same command goes on from there" in errors
    code, result, errors = command(content(store_copy, tiny), out).end()
    assert code == 0, errors
    assert result["counts"] == {"finished": 10, "stopped": 0, "failed": 0}
