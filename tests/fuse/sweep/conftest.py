"""Sweeps small enough for tests."""

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmcache.fuse.sweep.spec import SweepSpec, make_spec
from mmcache.fuse.sweep.sweep import Sweep, plan_sweep

# Teachers take their options from here, so that they are as small as their students.
TINY = {"width": 16, "heads": 2, "k": 6, "epochs": 2, "warmup": 0.0, "batch_size": 8, "device": "cpu", "depth": 1}


@pytest.fixture
def spec(store_copy: Path) -> Callable[..., SweepSpec]:
    """A sweep of tiny networks on a store of its own."""

    def make(**content: Any) -> SweepSpec:
        fuse = {**TINY, **content.pop("fuse", {})}
        return make_spec({"stores": [store_copy], "fuse": fuse, **content}, "test")

    return make


@pytest.fixture
def plan(spec: Callable[..., SweepSpec], tmp_path: Path) -> Callable[..., Sweep]:
    """The same, planned in a folder of its own."""

    def make(name: str = "out", **content: Any) -> Sweep:
        return plan_sweep(spec(**content), tmp_path / name)

    return make


class Command:
    """`mmcache sweep` in a process group of its own, with the sweep in a file."""

    def __init__(
        self, start: Callable[..., "subprocess.Popen[str]"], content: dict[str, Any], out: Path, *more: str
    ) -> None:
        self.out = out
        file = out.with_suffix(".yaml")
        file.write_text(json.dumps(content))  # JSON is YAML
        # One by one: packed with others a run is the same but for rounding, and here bytes are compared.
        self.process = start(["sweep", file, "--out", out, "--json", "--pack", "off", *more])

    def epochs(self) -> int:
        """How many epochs have been trained in all runs."""
        return sum(path.read_text().count("\n") for path in self.out.glob("runs/*/metrics.jsonl"))

    def wait_for_epochs(self, count: int) -> None:
        """Until so many have been trained in all runs."""
        until = time.monotonic() + 200
        while self.epochs() < count:
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < until
            time.sleep(0.02)

    def end(self) -> tuple[int, dict[str, Any], str]:
        out, errors = self.process.communicate(timeout=500)
        return self.process.returncode, json.loads(out) if out.strip() else {}, errors


@pytest.fixture
def command(start_command: Callable[..., "subprocess.Popen[str]"]) -> Callable[..., Command]:
    """`mmcache sweep` of (content, out, more arguments), `start` being how a command is started."""

    def run(content: dict[str, Any], out: Path, *more: str, start: Callable[..., Any] = start_command) -> Command:
        return Command(start, content, out, *more)

    return run


@pytest.fixture
def tiny() -> dict[str, Any]:
    """Options of tiny networks."""
    return dict(TINY)


Outcome = tuple[list[dict[str, Any]], dict[str, bytes]]


@pytest.fixture
def outcome() -> Callable[[dict[str, Any], Path], Outcome]:
    """What a sweep comes to: methods and their figures, and run -> the bytes of its model; not where they lie."""

    def read(result: dict[str, Any], out: Path) -> Outcome:
        table = [{name: value for name, value in row.items() if name != "store"} for row in result["methods"]]
        return table, {path.parent.name: path.read_bytes() for path in out.glob("runs/*/model.safetensors")}

    return read


@pytest.fixture
def undisturbed(
    command: Callable[..., Command], fresh_copy: Callable[[str], Path], outcome: Callable[..., Outcome], tmp_path: Path
) -> Callable[..., Outcome]:
    """The outcome of a sweep, given by its store, that nobody disturbs."""

    def run(content: Callable[[Path], dict[str, Any]]) -> Outcome:
        out = tmp_path / "undisturbed"
        code, result, errors = command(content(fresh_copy("whole")), out).end()
        assert code == 0, errors
        return outcome(result, out)

    return run


@pytest.fixture
def fresh_copy(epic_store: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Copies of epic_store by name."""

    def make(name: str) -> Path:
        return Path(shutil.copytree(epic_store, tmp_path / name / "epic.zarr"))

    return make
