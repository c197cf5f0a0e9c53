"""Plugins on the command line: lists do not import them, and their faults are shown with file and line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def test_lists_name_what_is_installed_without_importing_it(
    mmcache: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "mypkg-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mypkg\nVersion: 1.5\n")
    (info / "entry_points.txt").write_text(
        "[mmcache.encoders]\nmy_net = no_such_module:Net\n[mmcache.datasets]\nmy_set = no_such_module:Set\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for kind, name in (("encoders", "my_net"), ("datasets", "my_set")):
        done = mmcache("list", kind, "--json")
        assert done.code == 0
        assert f'"name": "{name}"' in done.out
        assert "plugin of mypkg 1.5" in done.out
    done = mmcache("check", "--encoder", "my_net")
    assert done.code == 2
    assert "encoder 'my_net' of the package mypkg 1.5 cannot be imported" in " ".join(done.err.split())


@pytest.mark.parametrize("kind", ["encoder", "dataset"])
def test_a_fault_of_a_plugin_is_no_bug_of_ours(mmcache: Callable[..., Any], tmp_path: Path, kind: str) -> None:
    (tmp_path / "mine.py").write_text("x = 1\n\nraise KeyError('lost')\n")
    spec = f"{tmp_path}/mine.py:Mine"
    given = ("--dataset", "epic", "--encoder", f"rgb={spec}") if kind == "encoder" else ("--dataset", spec)
    done = mmcache("extract", *given, "--root", tmp_path)
    said = "".join(done.err.split())
    assert done.code == 2
    assert "mine.py,line3,in<module>:KeyError:'lost'" in said
    assert "Abug" not in said
