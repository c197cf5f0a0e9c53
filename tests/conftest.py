"""Shared by the tests: a tiny data set in the official EPIC layout, the store extracted from it, and a Ray cluster."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import psutil
import pytest
from filelock import FileLock
from hypothesis import settings

from mmcache.cli.demo_data import DemoVideo, write_epic_demo

# The same examples in every run, and no time limit on one: what else the machine does is no failure.
settings.register_profile("mmcache", deadline=None, derandomize=True)
settings.load_profile("mmcache")

SEED = 3
HOST = Path(__file__).with_name("cluster_host.py")
VIDEOS = [
    DemoVideo("P01_101", "train", 8),
    DemoVideo("P01_102", "train", 8),
    DemoVideo("P02_01", "train", 8, imu=False),
    DemoVideo("P02_102", "train", 6, sound=False),
    DemoVideo("P03_101", "train", 6, picture=False),
    DemoVideo("P05_101", "validation", 10),
    DemoVideo("P06_01", "validation", 4, imu=False),
    DemoVideo("P08_101", "test", 2),
]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Callable[[str, Callable[[Path], object]], Path]:
    """Make a folder of a session once: of pytest-xdist's processes the first makes it, the others wait for it."""

    def made(name: str, make: Callable[[Path], object]) -> Path:
        base = tmp_path_factory.getbasetemp()
        folder = (base if worker_id == "master" else base.parent) / "shared" / name
        folder.parent.mkdir(exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not Path(f"{folder}.done").exists():
                make(folder)
                Path(f"{folder}.done").touch()
        return folder

    return made


@pytest.fixture(scope="session")
def epic_root(once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """52 segments of 8 videos with real MP4 and CSV files; read only."""
    return once("epic", lambda root: write_epic_demo(root, VIDEOS, seed=SEED))


@pytest.fixture
def epic_copy(epic_root: Path, tmp_path: Path) -> Path:
    """A copy of epic_root that a test may damage."""
    return Path(shutil.copytree(epic_root, tmp_path / "epic"))


@pytest.fixture(scope="session")
def epic_store(epic_root: Path, once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """The store extracted from epic_root, with shards of about 20 segments; read only."""
    return once("epic.zarr", lambda store: _extract_epic(epic_root, store))


def _extract_epic(root: Path, store: Path) -> None:
    from mmcache.common.settings import read_settings, resolve
    from mmcache.extract.planning.extract_config import ExtractConfig
    from mmcache.extract.planning.plan import make_plan
    from mmcache.extract.run.pipeline import NoProgress, run_extract

    settings = read_settings(root / "mmcache.yaml")
    flags = {"dataset": "epic", "root": root, "store": store, "shard_mb": 0.16}
    config = resolve(ExtractConfig, {"mmcache.yaml": settings["extract"], "flags": flags})
    run_extract(make_plan(config, settings["fuse"]), NoProgress())


@pytest.fixture
def store_copy(epic_store: Path, tmp_path: Path) -> Path:
    """A copy of epic_store that a test may write to."""
    return Path(shutil.copytree(epic_store, tmp_path / "epic.zarr"))


def _start_command(
    arguments: Sequence[object], environment: Mapping[str, str] | None = None, cwd: Path | None = None
) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", "from mmcache.cli.main import main; main()", *map(str, arguments)],
        env=environment,
        cwd=cwd,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs the tests in the background has them ignore Ctrl-C, and their children with them.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.fixture(scope="session")
def start_command() -> Callable[..., "subprocess.Popen[str]"]:
    """Start `mmcache` with (arguments, environment, cwd) in a process group of its own."""
    return _start_command


class Nodes:
    """A real Ray cluster of three nodes on this machine, in a process of its own."""

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

    def start_command(self, arguments: Sequence[object], cwd: Path | None = None) -> "subprocess.Popen[str]":
        """As the fixture of this name, on this cluster."""
        return _start_command([*arguments, "--address", self.address], self.environment, cwd)

    def kill_one(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("kill\n")
        self._process.stdin.flush()
        assert self._line() == "killed"

    def workers(self, name: str) -> list[psutil.Process]:
        """The workers of that class on all nodes."""
        found = []
        for child in psutil.Process(self._process.pid).children(recursive=True):
            try:
                if name in " ".join(child.cmdline()):
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
        time.sleep(10)
        return process


@pytest.fixture(scope="session")
def start_nodes() -> Callable[[], Nodes]:
    """Start three nodes that ask for a token; to be closed."""
    return lambda: Nodes(secrets.token_hex(16))


@pytest.fixture
def nodes(start_nodes: Callable[[], Nodes]) -> Iterator[Nodes]:
    """Three nodes, which may be killed."""
    running = start_nodes()
    yield running
    running.close()


class Disk:
    """A small file system of its own.

    Attributes:
        path: where it is mounted.
    """

    page = 4096

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def fill(self, free_pages: int) -> None:
        """Leave so much space."""
        free = os.statvfs(self.path).f_bavail - free_pages
        with open(self._filler, "ab") as file:
            file.write(bytes(free * self.page))
        assert os.statvfs(self.path).f_bavail == free_pages

    def make_space(self) -> None:
        self._filler.unlink()

    def remount(self, how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", str(self.path)], check=True, capture_output=True)


def _mounted(folder: Path, size: str) -> Iterator[Disk]:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A disk of 4 MiB, in memory."""
    yield from _mounted(tmp_path / "disk", "4m")


@pytest.fixture
def large_disk(tmp_path: Path) -> Iterator[Disk]:
    """A disk of 64 MiB, in memory."""
    yield from _mounted(tmp_path / "large_disk", "64m")


@pytest.fixture
def another_process_holds() -> Callable[[Path], AbstractContextManager["subprocess.Popen[str]"]]:
    """A context in which another process holds the writer lock of a folder, until it is killed or the block ends."""
    code = """
import sys
from pathlib import Path
from mmcache.store.ground.lock import writer_lock
with writer_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""

    @contextmanager
    def hold(folder: Path) -> Iterator["subprocess.Popen[str]"]:
        command = [sys.executable, "-c", code, str(folder)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            yield holder
            if holder.poll() is None:
                holder.communicate("")

    return hold
