"""Files that crash, kill or hang the process that reads them: each costs its segments, and no others.

The faults are real: the process of the worker gets a signal, or sleeps for ever, when it opens one of these files.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from mmcache.cli.demo_data import DemoVideo, write_epic_demo
from mmcache.extract.planning.extract_config import ExtractConfig
from mmcache.extract.planning.plan import make_plan
from mmcache.extract.run import dispatch, pipeline
from mmcache.extract.run.pipeline import ExtractSummary, check_failures, run_extract
from mmcache.store.feature_store import FeatureStore
from mmcache.store.format.layout import Presence
from mmcache.store.ground.errors import TooManyFailures
from mmcache.store.manage.verify import verify

# What a Python process runs before all else, when it finds it on its path.
_CUSTOMIZE = """
import os, signal, sys, time

def heed(event, arguments):
    if event == "open" and isinstance(arguments[0], str):
        name = os.path.basename(arguments[0])
        if name.startswith("P01_102"):
            signal.raise_signal(signal.SIGSEGV)  # to this very thread, as a decoder's own
        elif name.startswith("P01_104"):
            os.kill(os.getpid(), signal.SIGKILL)
        elif name.startswith("P01_106"):
            time.sleep(10000)
        elif name.startswith("P01_107") and not os.path.exists(ONCE):
            open(ONCE, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(heed)
"""
VIDEOS = [DemoVideo(f"P01_{101 + i}", "train", 2 if i == 1 else 1, picture=False, sound=False) for i in range(10)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_epic_demo(tmp_path / "epic", VIDEOS)
    return tmp_path / "epic"


@pytest.fixture
def poison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, processes that start die of the videos 102 and 104, hang over 106, and die once over 107."""
    folder = tmp_path / "customized"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(f"ONCE = {str(tmp_path / 'once')!r}\n{_CUSTOMIZE}")
    monkeypatch.setenv("PYTHONPATH", str(folder))


def extract(root: Path, store: Path, progress: Any, **options: Any) -> ExtractSummary:
    given = {"modalities": ["imu"], "encoder": {"imu": "imu_demo"}, "weights": "random", **options}
    return run_extract(make_plan(ExtractConfig("epic", root, store=store, **given)), progress)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("poison")
def test_poisonous_files_become_failed_segments_and_good_ones_have_the_bytes_they_would_have_had(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, watcher: Any, same_files: Callable[[Path, Path], None]
) -> None:
    monkeypatch.setattr(pipeline, "PATIENCE_S", 6.0)
    progress = watcher()
    summary = extract(root, tmp_path / "s.zarr", progress)
    ids = make_plan(ExtractConfig("epic", root)).segments.set_index("video")["id"]
    reasons = {line["id"]: line["reason"] for line in summary.failures}
    crash = "crashes the process (Segmentation fault), seen"
    kill = "ends the process, as the kernel does where memory runs out, seen twice with nothing else running in it"
    hang = "does not end within 0 min and a second for each MB, seen twice with nothing else running in it"
    for video, count, said in (("P01_102", 2, crash), ("P01_104", 1, kill), ("P01_106", 1, hang)):
        of_video = np.atleast_1d(ids[video]).tolist()
        assert len(of_video) == count
        for segment in of_video:
            assert reasons.pop(segment).startswith(f"reading {video}-accl.csv and {video}-gyro.csv {said}")
    assert not reasons
    assert summary.counts["imu"] == {"missing": 0, "cached": 7, "failed": 4, "to_do": 0}
    assert progress.seen[-1] == progress.totals == {"imu": 11}
    with pytest.raises(TooManyFailures):
        check_failures(summary, 0.01)
    assert verify(tmp_path / "s.zarr") == []
    assert (tmp_path / "once").exists()
    # The same where those files are damaged in a way that is seen at once.
    monkeypatch.delenv("PYTHONPATH")
    for video in ("P01_102", "P01_104", "P01_106"):
        for file in root.rglob(f"{video}-accl.csv"):
            file.write_bytes(b"\x00\x01")
    extract(root, tmp_path / "damaged.zarr", watcher())
    for store in ("s.zarr", "damaged.zarr"):
        for name in ("failures", "sources"):
            for report in (tmp_path / store).rglob(f"{name}.jsonl*"):
                report.unlink()
    shutil.copy(tmp_path / "s.zarr" / "zarr.json", tmp_path / "damaged.zarr" / "zarr.json")  # digests of the reasons
    for spare in (tmp_path / "s.zarr").glob(".spare/zarr.json*"):
        shutil.copy(spare, tmp_path / "damaged.zarr" / ".spare" / spare.name)
    same_files(tmp_path / "s.zarr", tmp_path / "damaged.zarr")
    status = FeatureStore.open(tmp_path / "s.zarr").present["imu"]
    assert (status == Presence.FAILED).sum() == 4


@pytest.mark.slow
def test_a_worker_that_is_stopped_for_good_is_replaced_and_blames_nobody(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, watcher: Any
) -> None:
    monkeypatch.setattr(dispatch, "_SILENT_S", 4.0)
    stopped: list[int] = []

    def stop_once(done: dict[str, int]) -> None:
        for child in [] if stopped else psutil.Process().children(recursive=True):
            if "ExtractWorker" in " ".join(child.cmdline()):
                child.suspend()
                stopped.append(child.pid)

    summary = extract(root, tmp_path / "s.zarr", watcher(stop_once), shard_mb=0.01)
    assert len(stopped) == 1
    assert summary.counts["imu"] == {"missing": 0, "cached": 11, "failed": 0, "to_do": 0}
    assert verify(tmp_path / "s.zarr") == []
    assert not psutil.pid_exists(stopped[0])
