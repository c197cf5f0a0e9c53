"""Extract on a real Ray cluster of three nodes on this machine, which are killed, starved and refused."""

import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from mmcache.extract.config import ExtractConfig
from mmcache.extract.pipeline import NoProgress, run_extract
from mmcache.extract.plan import make_plan
from mmcache.store.errors import ConfigError
from mmcache.store.verify import verify

HOST = Path(__file__).with_name("cluster_host.py")
SHARD_MB = 0.08  # 28 shards


class Nodes:
    """The nodes, from outside."""

    def __init__(self, token: str) -> None:
        self.environment = {**os.environ, "RAY_AUTH_TOKEN": token, "RAY_AUTH_MODE": "token"}
        self._process = subprocess.Popen(
            [sys.executable, str(HOST)],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.address = self._line()

    def _line(self) -> str:
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            if line.startswith("killed") or line[0].isdigit():
                return line.strip()
        raise AssertionError("the cluster did not start")

    def kill_one(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("kill\n")
        self._process.stdin.flush()
        assert self._line() == "killed"

    def workers(self) -> list[psutil.Process]:
        """The extract workers on all nodes."""
        found = []
        for child in psutil.Process(self._process.pid).children(recursive=True):
            try:
                if "ExtractWorker" in " ".join(child.cmdline()):
                    found.append(child)
            except psutil.NoSuchProcess:
                continue
        return found

    def close(self) -> None:
        self._process.communicate(timeout=60)

    def add_one_that_does_not_see(self, folder: Path) -> subprocess.Popen[bytes]:
        """A node to which `folder` is empty, as one without the shared disk."""
        ray = Path(sys.executable).with_name("ray")
        join = f"{ray} start --address {self.address} --num-cpus 1 --object-store-memory 80000000 --block"
        process = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", f'mount -t tmpfs none "$1" && exec {join}', "sh", str(folder)],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(8)
        return process


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    running = Nodes(secrets.token_hex(16))
    yield running
    running.close()


class Extract:
    """`mmcache extract --address` in a process of its own."""

    def __init__(self, nodes: Nodes, root: Path, store: Path) -> None:
        # Paths relative to a folder that no node was started in.
        arguments = [
            "extract",
            "--dataset",
            "epic",
            "--root",
            root.name,
            "--store",
            os.path.relpath(store, root.parent),
        ]
        arguments += ["--shard-mb", str(SHARD_MB), "--address", nodes.address]
        self.store = store
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from mmcache.cli.main import main; main()", *arguments],
            env=nodes.environment,
            cwd=root.parent,
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

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
def undisturbed(epic_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a run on the three nodes that nothing happened to."""
    store = tmp_path_factory.mktemp("undisturbed") / "epic.zarr"
    running = Nodes(secrets.token_hex(16))
    run = Extract(running, epic_root, store)
    run.wait_for(1)
    assert len(running.workers()) == 3
    code, said = run.end()
    running.close()
    assert code == 0, said
    assert verify(store) == []
    return store


def kill_a_node(nodes: Nodes) -> None:
    nodes.kill_one()


def kill_an_actor(nodes: Nodes) -> None:
    os.kill(nodes.workers()[0].pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("harm", [kill_a_node, kill_an_actor])
def test_a_node_or_an_actor_that_dies_costs_its_shard_and_nothing_else(
    harm: Callable[[Nodes], None],
    nodes: Nodes,
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
    nodes: Nodes, epic_root: Path, undisturbed: Path, tmp_path: Path, same_files: Callable[[Path, Path], None]
) -> None:
    run = Extract(nodes, epic_root, tmp_path / "epic.zarr")
    run.wait_for(6)
    hung = nodes.workers()[0]
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
    nodes: Nodes, epic_root: Path, undisturbed: Path, tmp_path: Path, same_files: Callable[[Path, Path], None]
) -> None:
    for more in (2, 3):
        run = Extract(nodes, epic_root, tmp_path / "epic.zarr")
        run.wait_for(run.shards() + more)
        workers = nodes.workers()
        os.kill(run.process.pid, signal.SIGKILL)
        run.process.communicate()
        assert workers
        assert psutil.wait_procs(workers, timeout=30)[1] == []
    code, said = Extract(nodes, epic_root, tmp_path / "epic.zarr").end()
    assert code == 0, said
    same_files(tmp_path / "epic.zarr", undisturbed)


@pytest.mark.slow
def test_a_wrong_token_is_told_in_plain_words(nodes: Nodes, epic_root: Path, tmp_path: Path) -> None:
    nodes.environment = {**nodes.environment, "RAY_AUTH_TOKEN": "another"}
    code, said = Extract(nodes, epic_root, tmp_path / "epic.zarr").end()
    assert code == 2
    assert "a cluster is there, but it did not let us in" in said
    assert "RAY_AUTH_TOKEN" in said
    assert "Traceback" not in said
    assert not (tmp_path / "epic.zarr").exists()


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can hide a folder from one node")
def test_a_node_without_the_shared_disk_is_named_before_anything_starts(
    nodes: Nodes, epic_root: Path, tmp_path: Path
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
        ("127.0.0.1:1", "nothing answers there"),
        ("nowhere.invalid:6379", "nothing answers there"),
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
