"""Extracts that are stopped: workers and commands killed, Ctrl-C; the same command goes on to the same bytes."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from mmcache.extract.planning.extract_config import ExtractConfig
from mmcache.extract.planning.plan import Plan, make_plan
from mmcache.extract.run.pipeline import run_extract
from mmcache.store.feature_store import FeatureStore
from mmcache.store.format.layout import Presence
from mmcache.store.ground.errors import MmcacheError
from mmcache.store.manage.verify import verify

ENCODERS = {"rgb": "swin3d_demo", "audio": "ast_demo", "imu": "imu_demo"}
SHARD_MB = 0.16  # as in epic_store: 14 shards
SameFiles = Callable[[Path, Path], None]
Extract = Callable[[Path], "subprocess.Popen[str]"]


def plan_of(root: Path, store: Path, **options: Any) -> Plan:
    given = {"encoder": ENCODERS, "weights": "random", "batch_size": 16, "shard_mb": SHARD_MB, **options}
    return make_plan(ExtractConfig("epic", root, store=store, **given))


def tokens_by_id(store: FeatureStore, modality: str) -> dict[str, NDArray[np.floating]]:
    rows = np.flatnonzero(store.present[modality] == Presence.CACHED)
    return dict(zip(store.segments["id"].iloc[rows], store.tokens[modality].read(rows), strict=True))


def workers_of(process: psutil.Process) -> list[psutil.Process]:
    """The workers among a run's processes; those that are already dead do not count."""
    found = []
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # a zombie is none either
            if "ExtractWorker" in " ".join(child.cmdline()):
                found.append(child)
    return found


@pytest.mark.slow
def test_a_worker_killed_in_the_middle_costs_nothing(
    epic_root: Path, epic_store: Path, tmp_path: Path, same_files: SameFiles, watcher: Any
) -> None:
    killed: list[int] = []

    def kill_once(done: dict[str, int]) -> None:
        if not killed and sum(done.values()) >= 20:
            (worker,) = workers_of(psutil.Process())
            os.kill(worker.pid, signal.SIGKILL)
            killed.append(worker.pid)

    store = tmp_path / "epic.zarr"
    settings = json.loads((epic_store / "zarr.json").read_text())["attributes"]["mmcache"]
    config = ExtractConfig(
        "epic", epic_root, store=store, encoder=ENCODERS, weights="random", batch_size=16, shard_mb=SHARD_MB
    )
    progress = watcher(kill_once)
    run_extract(make_plan(config, settings["recommended"]), progress)
    assert len(killed) == 1
    assert progress.seen[-1] == progress.totals
    same_files(store, epic_store)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_worker_that_keeps_dying_ends_the_run_with_advice_and_finished_shards_stay(
    epic_root: Path, epic_store: Path, tmp_path: Path, watcher: Any
) -> None:
    killed: set[int] = set()

    def kill_all(done: dict[str, int]) -> None:
        if done.get("imu") == 52:
            for worker in workers_of(psutil.Process()):
                killed.add(worker.pid)
                os.kill(worker.pid, signal.SIGKILL)

    store = tmp_path / "s.zarr"
    options = {"modalities": ["imu", "rgb"], "shard_mb": 64}  # one shard each
    with pytest.raises(
        MmcacheError, match=r"workers keep dying on shard 0 of rgb, and no segment .*a smaller --batch-size"
    ):
        run_extract(plan_of(epic_root, store, **options), watcher(kill_all))
    assert len(killed) >= 3
    assert not [p for p in psutil.Process().children(recursive=True) if "ray" in p.name()]
    kept = FeatureStore.open(store)
    assert (kept.present["imu"] != Presence.TO_DO).all()
    assert (kept.present["rgb"] == Presence.TO_DO).all()
    assert verify(store) == []
    run_extract(plan_of(epic_root, store, **options), watcher())
    assert verify(store) == []
    for modality in options["modalities"]:
        whole = tokens_by_id(FeatureStore.open(epic_store), modality)
        for name, tokens in tokens_by_id(FeatureStore.open(store), modality).items():
            np.testing.assert_allclose(tokens, whole.pop(name), rtol=1e-3, atol=2e-3)
        assert not whole


@pytest.fixture
def extract(start_command: Callable[..., subprocess.Popen[str]], epic_root: Path) -> Extract:
    """Start `mmcache extract` into a store."""
    arguments = ["extract", "--dataset", "epic", "--root", epic_root, "--shard-mb", SHARD_MB]
    return lambda store: start_command([*arguments, "--store", store])


def shards_done(store: Path) -> int:
    return len(list(store.glob("present/*/*/c/*")))


def wait_for_shards(store: Path, count: int, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 120
    while shards_done(store) < count:
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < until
        time.sleep(0.01)


def cached_so_far(path: Path) -> dict[str, dict[str, NDArray[np.floating]]]:
    store = FeatureStore.open(path)
    return {modality: tokens_by_id(store, modality) for modality in store.modalities}


@pytest.mark.slow
@pytest.mark.parametrize("kill", [os.killpg, os.kill], ids=["all its processes", "the first process alone"])
def test_killed_at_any_moment_the_same_command_goes_on_to_the_same_bytes(
    kill: Callable[[int, int], None], extract: Extract, epic_store: Path, tmp_path: Path, same_files: SameFiles
) -> None:
    """Killed whole, or by the kernel for want of memory: one process, whose workers live on for a moment."""
    store = tmp_path / "epic.zarr"
    seed = random.randrange(10**6)
    rng = random.Random(seed)
    workers: list[psutil.Process] = []
    whole = cached_so_far(epic_store)
    for more in (1, 2, 2):  # shards done before the kill; the moment after that is left to chance
        wanted = shards_done(store) + more
        process = extract(store)
        wait_for_shards(store, wanted, process)
        time.sleep(rng.uniform(0, 0.2))
        workers += workers_of(psutil.Process(process.pid))
        assert process.poll() is None, f"seed {seed}: it had finished before the kill"
        kill(process.pid, signal.SIGKILL)
        process.communicate()
        for modality, tokens in cached_so_far(store).items():
            for name, value in tokens.items():
                np.testing.assert_array_equal(value, whole[modality][name], err_msg=f"seed {seed}: {modality} {name}")
    process = extract(store)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    assert workers
    assert verify(store) == []
    assert psutil.wait_procs(workers, timeout=60)[1] == [], f"seed {seed}: workers outlived their runs"
    same_files(store, epic_store)
    assert [path.name for path in tmp_path.iterdir()] == ["epic.zarr"], f"seed {seed}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "times"),
    [
        (signal.SIGINT, 1),
        (signal.SIGINT, 2),
        (signal.SIGTERM, 1),
    ],
)
def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(
    sent: signal.Signals, times: int, extract: Extract, epic_store: Path, tmp_path: Path, same_files: SameFiles
) -> None:
    """Within a shard too; a second one does not wait."""
    for attempt in range(4):  # on a busy machine it may have finished before the signal comes
        store = tmp_path / str(attempt) / "epic.zarr"
        process = extract(store)
        wait_for_shards(store, 1, process)
        for _ in range(times):
            os.kill(process.pid, sent)
            time.sleep(0.05)
        _, errors = process.communicate(timeout=100)
        if process.returncode != 0:
            break
    said = errors
    assert process.returncode == 128 + sent, said
    assert "Traceback" not in said
    assert "continues from there" in said
    assert verify(store) == []
    presence = FeatureStore.open(store).present
    to_do = sum(int((presence[modality] == Presence.TO_DO).sum()) for modality in presence)
    assert 0 < to_do < 3 * 52
    if times == 1:
        assert "stopped after" in said
        counts = [int((presence[modality] == Presence.TO_DO).sum()) for modality in ENCODERS]
        named = [int(word) for word in said.partition("still to do: ")[2].replace(",", "").split() if word.isdigit()]
        assert sorted(named[:3]) == sorted(counts)
    process = extract(store)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    same_files(store, epic_store)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_twenty_random_kills_end_with_the_bytes_of_a_run_that_nobody_disturbed(
    extract: Extract, epic_store: Path, tmp_path: Path, same_files: SameFiles
) -> None:
    store = tmp_path / "epic.zarr"
    rng = random.Random(5)
    kills = ends = 0
    while kills < 20:
        process = extract(store)
        time.sleep(rng.uniform(2, 12))  # from before Ray is up to after the end
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        _, errors = process.communicate()
        if process.returncode == 0:
            same_files(store, epic_store)
            shutil.rmtree(store)
            ends += 1
        else:
            assert process.returncode == -signal.SIGKILL, errors
    process = extract(store)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    same_files(store, epic_store)
