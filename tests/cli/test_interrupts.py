"""Ctrl-C and SIGTERM: the exit code says which, what was done is kept, and nothing is left over."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.mark.parametrize("sent", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_an_interrupted_fuse_exits_with_the_number_of_the_signal(
    sent: signal.Signals, start_command: Callable, epic_store: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    options = ["--epochs", 100_000, "--width", 16, "--heads", 2, "--device", "cpu"]
    process = start_command(["fuse", "--strategy", "zeros", "--store", epic_store, "--out", out, *options])
    until = time.monotonic() + 120
    while not (out / "metrics.jsonl").exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.05)
    os.kill(process.pid, sent)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + sent, errors
    assert "error: stopped. Finished work is kept; the same command continues from there." in errors
    assert "Traceback" not in errors
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert not list(out.glob(".*"))
