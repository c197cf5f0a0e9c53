"""Two processes at one run, sweep or report: the second ends with one line and changes nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmcache.fuse.report.formats.writing import write
from mmcache.fuse.report.read.found import find_runs
from mmcache.fuse.runs.config import read_run_config
from mmcache.fuse.training.stores import newest_store
from mmcache.fuse.training.train import train
from mmcache.store import ConfigError
from mmcache.store.ground.lock import InUseError, holder_of, writer_lock

TINY = {"epochs": 1, "width": 16, "heads": 2, "k": 4, "device": "cpu"}


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_second_fuse_on_one_out_ends_with_one_line_and_changes_nothing(
    epic_store: Path, tmp_path: Path, start_command: Callable
) -> None:
    """Both used to exit 0, with the metrics of both mixed in one file."""
    out = tmp_path / "run"
    options = ["--store", epic_store, "--out", out, "--width", 16, "--heads", 2, "--k", 4, "--device", "cpu"]
    first = start_command(["fuse", "--strategy", "zeros", *options, "--epochs", 100_000])
    until = time.monotonic() + 120
    while not (out / "metrics.jsonl").exists():
        assert first.poll() is None, first.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.05)
    os.kill(first.pid, signal.SIGSTOP)
    before = files(out)
    for strategy in ("zeros", "karmma"):  # a strategy with a teacher is told before that is trained
        with pytest.raises(
            InUseError, match=rf"^the run .*run is being written by another process \(pid {first.pid}\)"
        ):
            train(strategy, {**TINY, "store": epic_store, "out": out, "epochs": 100_000})
    assert files(out) == before
    assert [path.name for path in tmp_path.iterdir() if path.name[0] != "."] == ["run"]
    with pytest.raises(ConfigError, match=rf"pid {first.pid}, is training it\). Wait"):
        read_run_config(out)
    with pytest.raises(ConfigError, match=rf"unfinished \(process {first.pid} is training it\)"):
        find_runs([out])
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    with pytest.raises(ConfigError, match="was begun and not finished"):
        read_run_config(out)
    assert holder_of(out) is None, "a lock of a dead process is no lock"


class Told:
    """Progress that lets the other process go as soon as it is waited for."""

    def __init__(self, holder: "subprocess.Popen[str]") -> None:
        self.stages: list[tuple[str, list[str]]] = []
        self._holder = holder

    def stage(self, title: str, details: list[str]) -> None:
        self.stages.append((title, details))
        if title.startswith("waiting for"):
            self._holder.communicate("")

    def advance(self, done: int, total: int, unit: str, note: str = "") -> None:
        return None


def test_a_teacher_that_another_process_trains_is_waited_for(
    store_copy: Path, tmp_path: Path, another_process_holds: Callable
) -> None:
    teacher = tmp_path / "run-teacher"
    with another_process_holds(teacher) as holder:
        told = Told(holder)
        trained = train("karmma", {**TINY, "store": store_copy, "out": tmp_path / "run"}, told)
    waiting = [(title, details) for title, details in told.stages if title.startswith("waiting")]
    assert waiting == [(f"waiting for {teacher}", [f"another process (pid {holder.pid}) is training it"])]
    assert trained.teacher is not None
    assert trained.teacher.path == teacher
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epic.zarr", "run", "run-teacher"]


def test_a_finished_run_is_read_while_its_folder_cannot_be_locked(
    epic_store: Path, tmp_path: Path, another_process_holds: Callable
) -> None:
    options: dict[str, Any] = {**TINY, "store": epic_store, "out": tmp_path / "run"}
    first = train("zeros", options)
    with another_process_holds(tmp_path / "run"):
        again = train("zeros", options)
    assert again.was_finished
    assert json.dumps(again.result) == json.dumps(first.result)


def test_a_store_that_is_being_written_is_passed_over_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, another_process_holds: Callable
) -> None:
    monkeypatch.chdir(tmp_path)
    for age, name in enumerate(("new", "old")):
        (tmp_path / "cache" / f"{name}.zarr").mkdir(parents=True)
        (tmp_path / "cache" / f"{name}.zarr" / "zarr.json").write_text("{}")
        os.utime(tmp_path / "cache" / f"{name}.zarr", (1000 - age, 1000 - age))
    (tmp_path / "cache" / "half.zarr").mkdir()
    notes: list[str] = []
    assert newest_store(notes) == Path("cache/new.zarr")
    assert notes == []
    with another_process_holds(Path("cache/new.zarr")) as holder:
        assert newest_store(notes) == Path("cache/old.zarr")
        told = f"cache/new.zarr is being written by another process (pid {holder.pid}), and is passed over; "
        assert notes == [told + "cache/old.zarr is taken"]
        with writer_lock(Path("cache/old.zarr")), pytest.raises(ConfigError, match="Wait for it to finish, or name"):
            newest_store([])


def test_looking_who_writes_disturbs_no_writer(tmp_path: Path) -> None:
    """Asking takes the lock for a moment; a writer that comes just then must not be refused."""
    code = (
        "import sys, pathlib; from mmcache.store.ground.lock import holder_of\n"
        "print('on', flush=True)\nwhile True: holder_of(pathlib.Path(sys.argv[1]))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "a")], stdout=subprocess.PIPE, text=True
    ) as asking:
        assert asking.stdout is not None
        asking.stdout.readline()
        try:
            for _ in range(200):
                with writer_lock(tmp_path / "a"):
                    assert holder_of(tmp_path / "a") == str(os.getpid())
        finally:
            asking.kill()
    assert holder_of(tmp_path / "a") is None


def test_a_second_report_into_one_folder_is_refused(tmp_path: Path, another_process_holds: Callable) -> None:
    nothing: Any = None  # it is not looked at
    with (
        another_process_holds(tmp_path / "report"),
        pytest.raises(InUseError, match=r"^the report .*report is being written"),
    ):
        write(nothing, tmp_path / "report")
    assert not (tmp_path / "report").exists()
