"""Run the command line in this process: the same code as the installed script, without its start-up time."""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mmcache.cli.main import main


@dataclasses.dataclass
class Done:
    """What a command left: its exit code and both streams."""

    code: int
    out: str
    err: str


@pytest.fixture
def mmcache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """`mmcache(arg, ...)` in an empty working directory; a traceback on either stream fails the test."""
    working = tmp_path / "work"
    working.mkdir()
    monkeypatch.chdir(working)
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["mmcache", *map(str, arguments)])
        capfd.readouterr()
        code: object = 0
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        captured = capfd.readouterr()
        assert "Traceback" not in captured.out + captured.err
        assert isinstance(code, int)
        return Done(code, captured.out, captured.err)

    return run
