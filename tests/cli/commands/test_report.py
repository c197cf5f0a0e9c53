"""mmcache report: from runs to files, and what is said when something is amiss."""

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mmcache.fuse import evaluate, train

QUICK = {"width": 16, "heads": 2, "k": 6, "epochs": 1, "batch_size": 8, "device": "cpu"}


@pytest.fixture(scope="module")
def runs(epic_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three runs on epic_store: two seeds of one strategy, one of another; read only."""
    folder = tmp_path_factory.mktemp("runs")
    for strategy, seed in (("skip", 0), ("skip", 1), ("zeros", 0)):
        train(strategy, {**QUICK, "store": epic_store, "out": folder / f"{strategy}-{seed}", "seed": seed})
    return folder


def test_markdown_goes_to_standard_output(mmcache: Callable, runs: Path) -> None:
    done = mmcache("report", runs)
    assert done.code == 0
    assert done.out.startswith("# Missing modalities\n")
    assert "3 runs of 2 methods on 1 set of segments" in done.out
    assert "All were trained with the published recipe" in done.out
    mean = sum(evaluate(runs / f"skip-{seed}")["subsets"]["rgb"]["verb"]["top1"] for seed in range(2)) / 2
    row = next(line for line in done.out.split("### verb")[1].splitlines() if line.startswith(("| skip", "| **skip")))
    assert f"{mean:.1f}" in row


def test_out_gets_every_format_and_plots(mmcache: Callable, runs: Path, tmp_path: Path) -> None:
    done = mmcache("report", runs / "skip-0", runs / "skip-1", "--out", tmp_path / "r", "--title", "Ours & theirs")
    assert done.code == 0
    assert {path.name for path in (tmp_path / "r").iterdir()} == {
        "report.md", "report.csv", "report.tex", "report.html", "plots"
    }  # fmt: skip
    svgs, pngs = (sorted(path.stem for path in (tmp_path / "r" / "plots").glob(f"*.{end}")) for end in ("svg", "png"))
    assert svgs == pngs
    assert f"{len(svgs)} plots in" in done.out
    assert "<h1>Ours &amp; theirs</h1>" in (tmp_path / "r" / "report.html").read_text()


def test_formats_may_be_listed_or_repeated(mmcache: Callable, runs: Path, tmp_path: Path) -> None:
    done = mmcache(
        "report", runs, "--format", "csv,latex", "--format", "csv", "--out", tmp_path / "r", "--task", "noun"
    )
    assert done.code == 0
    rows = list(csv.DictReader(io.StringIO((tmp_path / "r" / "report.csv").read_text(), newline="")))
    assert {row["task"] for row in rows} == {"noun"}
    assert not (tmp_path / "r" / "report.html").exists()
    done = mmcache("report", runs, "--format", "latex")
    assert r"\begin{tabular}" in done.out


def test_json_has_every_number_and_what_was_left_out(mmcache: Callable, runs: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(runs, tmp_path / "runs"))
    (folder / "zeros-0" / "summary.json").unlink()
    done = mmcache("report", folder, "--json")
    assert done.code == 0
    found = json.loads(done.out)
    assert [Path(out["run"]).name for out in found["left_out"]] == ["zeros-0"]
    assert found["left_out"][0]["kind"] == "unfinished"
    assert {(record["method"], record["recipe"]) for record in found["records"]} == {("skip", "published")}
    assert "zeros-0: unfinished" in done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "pdf"], "unknown format 'pdf'"),
        (["--format", "md,csv"], "give --out FOLDER"),
        (["--task", "nuon"], "Did you mean 'noun'?"),
        (["--out", "file"], "--out file is a file"),
        (["not-there"], "not-there: no such folder"),
    ],
)
def test_what_cannot_be_is_said(arguments: list[str], message: str, mmcache: Callable, runs: Path) -> None:
    Path("file").write_text("")
    done = mmcache("report", runs, *arguments)
    assert done.code == 2
    assert message in done.err


def test_a_folder_without_runs_is_said(mmcache: Callable, tmp_path: Path) -> None:
    done = mmcache("report", tmp_path)
    assert done.code == 2
    assert "there is no finished run to report on" in done.err
