"""Extract on a real Ray cluster of three nodes on this machine, which are killed, starved and refused."""

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from mmcache.extract.planning.extract_config import ExtractConfig
from mmcache.extract.planning.plan import make_plan
from mmcache.extract.run.pipeline import NoProgress, run_extract
from mmcache.store.ground.errors import ConfigError
from mmcache.store.manage.verify import verify

SHARD_MB = 0.08  # 28 shards


class Extract:
    """`mmcache extract --address` in a process of its own."""

    def __init__(self, nodes: Any, root: Path, store: Path) -> None:
        arguments = ["extract", "--dataset", "epic", "--root", root.name, "--shard-mb", SHARD_MB]
        self.store = store
        # Paths relative to a folder that no node was started in.
        self.process = nodes.start_command([*arguments, "--store", os.path.relpath(store, root.parent)], root.parent)

    def shards(self) -> int:
        return len(list(self.store.glob("present/*/*/c/*")))

    def wait_for(self, shards: int) -> None:
        until = time.monotonic() + 180
        while self.shards() < shards:
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < until
            time.sleep(0.01)

    def end(self) -> tuple[int, str]:
        out, errors = self.process.communicate(timeout=300)
        return self.process.returncode, out + errors


@pytest.fixture(scope="module")
def undisturbed(start_nodes: Callable[[], Any], epic_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a run on the three nodes that nothing happened to."""
    store = tmp_path_factory.mktemp("undisturbed") / "epic.zarr"
    running = start_nodes()
    run = Extract(running, epic_root, store)
    run.wait_for(1)
    assert len(running.workers("ExtractWorker")) == 3
    code, said = run.end()
    running.close()
    assert code == 0, said
    assert verify(store) == []
    return store


def kill_a_node(nodes: Any) -> None:
    nodes.kill_one()


def kill_an_actor(nodes: Any) -> None:
    os.kill(nodes.workers("ExtractWorker")[0].pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("harm", [kill_a_node, kill_an_actor])
def test_a_node_or_an_actor_that_dies_costs_its_shard_and_nothing_else(
    harm: Callable[[Any], None],
    nodes: Any,
    epic_root: Path,
    undisturbed: Path,
    tmp_path: Path,
    same_files: Callable[[Path, Path], None],
) -> None:
    run = Extract(nodes, epic_root, tmp_path / "epic.zarr")
    run.wait_for(4)
    harm(nodes)
    assert run.process.poll() is None, "it had finished before the harm was done"
    code, said = run.end()
    assert code == 0, said
    same_files(run.store, undisturbed)


@pytest.mark.slow
def test_a_worker_that_hangs_at_the_end_does_not_hold_the_run_up(
    nodes: Any, epic_root: Path, undisturbed: Path, tmp_path: Path, same_files: Callable[[Path, Path], None]
) -> None:
    run = Extract(nodes, epic_root, tmp_path / "epic.zarr")
    run.wait_for(6)
    hung = nodes.workers("ExtractWorker")[0]
    hung.suspend()
    try:
        code, said = run.end()
    finally:
        if hung.is_running():
            hung.resume()
    assert code == 0, said
    same_files(run.store, undisturbed)


@pytest.mark.slow
def test_a_driver_that_dies_leaves_no_worker_behind_and_the_next_one_goes_on(
    nodes: Any, epic_root: Path, undisturbed: Path, tmp_path: Path, same_files: Callable[[Path, Path], None]
) -> None:
    for more in (2, 3):
        run = Extract(nodes, epic_root, tmp_path / "epic.zarr")
        run.wait_for(run.shards() + more)
        workers = nodes.workers("ExtractWorker")
        os.kill(run.process.pid, signal.SIGKILL)
        run.process.communicate()
        assert workers
        assert psutil.wait_procs(workers, timeout=30)[1] == []
    code, said = Extract(nodes, epic_root, tmp_path / "epic.zarr").end()
    assert code == 0, said
    same_files(tmp_path / "epic.zarr", undisturbed)


@pytest.mark.slow
def test_a_wrong_token_is_told_in_plain_words(nodes: Any, epic_root: Path, tmp_path: Path) -> None:
    nodes.environment = {**nodes.environment, "RAY_AUTH_TOKEN": "another"}
    code, said = Extract(nodes, epic_root, tmp_path / "epic.zarr").end()
    assert code == 2
    assert "the cluster refused the connection" in said
    assert "RAY_AUTH_TOKEN" in said
    assert "Traceback" not in said
    assert not (tmp_path / "epic.zarr").exists()


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can hide a folder from one node")
def test_a_node_without_the_shared_disk_is_named_before_anything_starts(
    nodes: Any, epic_root: Path, tmp_path: Path
) -> None:
    blind = nodes.add_one_that_does_not_see(tmp_path)
    try:
        code, said = Extract(nodes, epic_root, tmp_path / "epic.zarr").end()
    finally:
        os.killpg(blind.pid, signal.SIGKILL)
        blind.wait()
    assert code == 2, said
    named = re.search(r"does not see (/\S*epic\.zarr)\.", said)
    assert named, said
    assert Path(named[1]).resolve() == tmp_path / "epic.zarr"
    assert "a disk that all nodes share" in said
    assert not list((tmp_path / "epic.zarr").glob("tokens/*/*"))


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:1", "no program answers there"),
        ("nowhere.invalid:6379", "no program answers there"),
        ("here", "expected auto, or HOST:PORT"),
        ("ray://127.0.0.1:10001", "a Ray Client address"),
    ],
)
def test_addresses_that_lead_nowhere_are_told_at_once(
    address: str, message: str, epic_root: Path, tmp_path: Path
) -> None:
    plan = make_plan(ExtractConfig("epic", epic_root, store=tmp_path / "epic.zarr", weights="random", address=address))
    began = time.monotonic()
    with pytest.raises(ConfigError, match=message):
        run_extract(plan, NoProgress())
    assert time.monotonic() - began < 10
    assert not (tmp_path / "epic.zarr").exists()
