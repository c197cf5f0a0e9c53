"""Which folders are runs, which are not, and why."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mmcache.fuse.report.read.found import find_runs
from mmcache.store import ConfigError


def test_runs_below_a_folder_are_found_once(many_runs: Path) -> None:
    runs, left_out = find_runs([many_runs, many_runs / "skip-0", many_runs.parent])
    assert len(runs) == 27
    assert not left_out
    assert [run.path.name for run in runs[:2]] == ["actionmae-0", "actionmae-1"]


def test_what_cannot_be_used_is_named_with_its_reason(write_run: Callable[..., Path], tmp_path: Path) -> None:
    write_run("whole")
    (write_run("unfinished") / "summary.json").unlink()
    (write_run("only-begun") / "summary.json").unlink()
    (tmp_path / "runs" / "only-begun" / "config.yaml").unlink()
    (write_run("no-table") / "subsets.parquet").unlink()
    (write_run("cut") / "subsets.parquet").write_bytes(b"PAR1 and then nothing")
    (write_run("not-yaml") / "config.yaml").write_text("options: [")
    (write_run("other-yaml") / "config.yaml").write_text("just words")
    (write_run("not-json") / "summary.json").write_text("{")
    (write_run("old") / "config.yaml").write_text("eval_split: validation\nmodel: {}\n")
    write_run("incomplete", n=0)
    write_run("whole-teacher", "karmma-teacher")
    (tmp_path / "note.txt").write_text("no run")
    (tmp_path / "empty").mkdir()
    runs, left_out = find_runs([tmp_path / "runs", tmp_path / "note.txt", tmp_path / "empty"])
    assert [run.path.name for run in runs] == ["whole"]
    assert {out.path.name: out.kind for out in left_out} == {
        "unfinished": "unfinished",
        "only-begun": "unfinished",
        "no-table": "unreadable",
        "cut": "unreadable",
        "not-yaml": "unreadable",
        "other-yaml": "unreadable",
        "not-json": "unreadable",
        "old": "unreadable",
        "incomplete": "unreadable",
        "whole-teacher": "built on",
        "note.txt": "no run",
        "empty": "no run",
    }
    assert all(out.reason and "\n" not in out.reason for out in left_out)


def test_what_a_sweep_made_for_others_is_no_result(write_run: Callable[..., Path], tmp_path: Path) -> None:
    mine, base = write_run("dropout", "dropout"), write_run("zeros-start", "zeros")
    (tmp_path / "built_on.txt").write_text(f"{base.name}\n")
    runs, left_out = find_runs([tmp_path])
    assert [run.path for run in runs] == [mine]
    assert [(out.path, out.kind, out.reason) for out in left_out] == [
        (base, "built on", "made for others of the sweep; --teachers shows it")
    ]
    assert len(find_runs([tmp_path], teachers=True)[0]) == 2


def test_teachers_are_shown_when_asked_for_by_flag_or_by_name(write_run: Callable[..., Path], tmp_path: Path) -> None:
    write_run("karmma", "karmma")
    teacher = write_run("karmma-teacher", "karmma-teacher")
    assert len(find_runs([tmp_path / "runs"])[0]) == 1
    assert len(find_runs([tmp_path / "runs"], teachers=True)[0]) == 2
    runs, left_out = find_runs([tmp_path / "runs", teacher])
    assert len(runs) == 2
    assert not left_out
    shutil.rmtree(tmp_path / "runs" / "karmma")
    assert len(find_runs([tmp_path / "runs"])[0]) == 1  # beside no run of that name it is a run like others


def test_nothing_to_report_on_is_said(write_run: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"(?s)2 things to put right.*no-1: no such folder.*no-2: no such folder"):
        find_runs([tmp_path / "no-1", tmp_path / "no-2"])
    (write_run("begun") / "summary.json").unlink()
    with pytest.raises(ConfigError, match=r"(?s)no finished run to report on.*begun: unfinished"):
        find_runs([tmp_path / "runs"])
