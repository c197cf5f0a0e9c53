"""A sweep on a real Ray cluster of three nodes on this machine, one of which is killed, or does not see the disk."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def content(store: Path, tiny: dict[str, Any]) -> dict[str, Any]:
    fuse = {**tiny, "epochs": 6}
    return {"strategies": ["karmma", "dropout", "mmt"], "stores": [str(store)], "seeds": [0, 1], "fuse": fuse}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_node_that_is_killed_costs_nothing_but_time(
    nodes: Any,
    command: Any,
    undisturbed: Any,
    outcome: Any,
    fresh_copy: Callable[[str], Path],
    tiny: dict[str, Any],
    tmp_path: Path,
) -> None:
    expected = undisturbed(lambda store: content(store, tiny))
    sweep, out = content(fresh_copy("cluster"), tiny), tmp_path / "out"
    run = command(sweep, out, start=nodes.start_command)
    run.wait_for_epochs(8)
    nodes.kill_one()
    assert run.process.poll() is None, "it had finished before the node was killed"
    code, result, errors = run.end()
    assert code == 0, errors
    assert result["counts"]["finished"] == 8
    assert outcome(result, out) == expected


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can hide a folder from one node")
def test_a_node_without_the_shared_disk_is_named_before_anything_starts(
    nodes: Any, command: Any, fresh_copy: Callable[[str], Path], tiny: dict[str, Any], tmp_path: Path
) -> None:
    store = fresh_copy("hidden")
    blind = nodes.add_one_that_does_not_see(store.parent)
    try:
        run = command(content(store, tiny), tmp_path / "out", start=nodes.start_command)
        code, _, errors = run.end()
    finally:
        os.killpg(blind.pid, signal.SIGKILL)
        blind.wait()
    assert code == 2, errors
    assert f"does not see {store}" in errors
    assert "a disk that all nodes share" in " ".join(errors.split())
    assert not list((tmp_path / "out").glob("runs/*"))


@pytest.mark.slow
def test_a_wrong_token_is_told_in_plain_words(
    nodes: Any, command: Any, store_copy: Path, tiny: dict[str, Any], tmp_path: Path
) -> None:
    nodes.environment = {**nodes.environment, "RAY_AUTH_TOKEN": "another"}
    run = command(content(store_copy, tiny), tmp_path / "out", start=nodes.start_command)
    code, _, errors = run.end()
    assert code == 2
    assert "the cluster refused the connection" in errors
    assert "Traceback" not in errors
