"""Runs killed with SIGKILL, and started again: nothing is lost, nothing is left over, the bytes are the same."""

import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mmcache.store import FeatureStore, Presence
from mmcache.store.exchange.hdf5_export import export_hdf5
from mmcache.store.exchange.npy_export import export_npy
from mmcache.store.manage.verify import verify

Tree = Callable[[Path], dict[str, bytes]]
OPERATIONS = {  # scenario of kill_scenarios.py -> the fewest file operations it can do with
    "import-hdf5": 60,
    "import-npy": 60,
    "reduce-k": 50,
    "reduce-int8": 50,
    "merge": 60,
    "export-npy": 10,
}
C, F, T = Presence.CACHED, Presence.FAILED, Presence.TO_DO


def kill_and_run_again(scenario: str, folder: Path, stride: int, tree: Tree) -> None:
    script = Path(__file__).parent / "kill_scenarios.py"
    done = subprocess.run(
        [sys.executable, str(script), scenario, str(folder), str(stride)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    kills = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(kills) >= OPERATIONS[scenario] / stride
    undisturbed = tree(folder / "undisturbed")
    assert undisturbed
    for kill in kills:
        assert kill["unsound"] == [], kill
        assert kill["rerun"] == [], kill
        assert tree(folder / str(kill["n"])) == undisturbed, kill
    if scenario == "merge":
        assert tree(folder / "undisturbed" / "out") == tree(folder / "store")


@pytest.mark.parametrize("scenario", OPERATIONS)
def test_a_run_killed_before_some_file_operations_and_run_again_gives_the_same_bytes(
    scenario: str, make_folder: Callable[[], Path], tree: Tree
) -> None:
    """Before every 23rd one; the slow test has them all."""
    kill_and_run_again(scenario, make_folder(), 3 if scenario.startswith("export") else 23, tree)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", OPERATIONS)
def test_a_run_killed_before_any_file_operation_and_run_again_gives_the_same_bytes(
    scenario: str, make_folder: Callable[[], Path], tree: Tree
) -> None:
    kill_and_run_again(scenario, make_folder(), 1, tree)


# The command line, killed at random moments.

N, KILLS = 60, 20
SHARD_MB = 2 * 16 * 32 * 2 / 2**20  # two rows of float16
COMMANDS: dict[str, tuple[object, ...]] = {
    "import-hdf5": ("import", "features.h5", "--store", "out", "--shard-mb", SHARD_MB),
    "import-npy": ("import", "features", "--store", "out", "--shard-mb", SHARD_MB),
    "reduce-k": ("reduce", "out", "--k", 8, "--shard-mb", SHARD_MB),
    "reduce-int8": ("reduce", "out", "--dtype", "int8", "--shard-mb", SHARD_MB / 2),
    "merge": ("merge", "part0", "part1", "--store", "out"),
}


@pytest.fixture(scope="module")
def inputs(
    make_store: Callable[..., Path], random_tokens: Callable[..., NDArray[np.floating]], make_folder: Callable[[], Path]
) -> Path:
    """A folder with a store, two parts of it that share shards, and two exports of it."""
    folder = make_folder()
    tokens = {name: random_tokens(N, 1, 16, 32, seed=seed) for seed, name in enumerate(("audio", "rgb"))}
    status = np.where(np.arange(N) % 7 == 3, F, C)
    masks = {"store": np.full(N, True), "part0": np.arange(N) < 35, "part1": np.arange(N) >= 35}
    for name, mine in masks.items():
        presence = dict.fromkeys(tokens, np.where(mine, status, T))
        make_store(tokens, 2, presence).rename(folder / name)
    export_hdf5(FeatureStore.open(folder / "store"), folder / "features.h5")
    export_npy(FeatureStore.open(folder / "store"), folder / "features")
    for file in sorted((folder / "features" / "rgb").iterdir())[::9]:
        file.write_bytes(b"no array")
    return folder


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_killed_at_any_moment_and_typed_again_gives_the_same_bytes(
    command: str, inputs: Path, tmp_path: Path, tree: Tree
) -> None:
    script = Path(sys.executable).parent / "mmcache"
    arguments = [str(script), "store", *map(str, COMMANDS[command])]

    def begin(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        if command.startswith("reduce"):
            shutil.copytree(inputs / "store", folder / "out")
        for given in COMMANDS[command]:
            if isinstance(given, str) and (inputs / given).exists():
                (folder / given).symlink_to(inputs / given)
        return folder

    def run_whole(folder: Path) -> dict[str, bytes]:
        done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return {name: data for name, data in tree(folder).items() if not name.startswith(("part", "features"))}

    started = time.monotonic()
    undisturbed = run_whole(begin("undisturbed"))
    seconds = time.monotonic() - started
    assert len([name for name in undisturbed if "/tokens/" in name]) > 50
    assert verify(tmp_path / "undisturbed" / "out") == []
    moments = random.Random(command)
    halfway = 0
    for number in range(KILLS):
        folder = begin(str(number))
        before = tree(folder)
        with subprocess.Popen(arguments, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            time.sleep(moments.uniform(0, seconds))
            process.kill()
        left = tree(folder)
        halfway += left not in (before, undisturbed)
        assert run_whole(folder) == undisturbed
    print(f"{command}: {halfway} of {KILLS} kills landed inside, {seconds:.1f} s undisturbed")
    assert halfway > 0
