"""The numbers of a report are those of `evaluate`."""

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmcache.fuse import evaluate
from mmcache.fuse.report import Report, make_report, render
from mmcache.fuse.report.formats.markdown import escape
from mmcache.fuse.report.formats.records import COLUMNS, records
from mmcache.fuse.report.read.pareto import pareto
from mmcache.fuse.report.tables import Kind
from mmcache.store import ConfigError


@pytest.fixture
def report(many_runs: Path) -> Report:
    return make_report([many_runs])


def evaluated(report: Report, strategy: str) -> list[dict[str, Any]]:
    """The results of a method's runs in the first section, which is of verb and noun, by `evaluate` itself."""
    section = next(part.section for part in report.parts if "verb" in part.section.tasks)
    (method,) = [method for method in section.methods if method.label == strategy]
    assert len(method.runs) == 3
    # Without weights, which a report does not need, evaluate would not know the folder as a run.
    for run in method.runs:
        (run.path / "model.safetensors").touch()
    return [evaluate(run.path) for run in method.runs]


@pytest.mark.parametrize("strategy", ["zeros", "karmma"])
def test_records_are_means_and_spreads_of_evaluate(report: Report, strategy: str) -> None:
    results = evaluated(report, strategy)
    found = {
        (r["task"], r["measure"], r["missing"], r["at"]): (r["mean"], r["std"], r["seeds"])
        for r in records(report)
        if r["method"] == strategy and r["dataset"] == "epic"
    }
    expected = {}
    for task in ("verb", "noun", "action"):
        for subset in results[0]["subsets"]:
            expected[task, "subsets", None, subset] = [r["subsets"][subset][task]["top1"] for r in results]
        for modality, curves in results[0]["rates"].items():
            for rate in curves[task]:
                expected[task, "rates", modality, rate] = [r["rates"][modality][task][rate] for r in results]
        for key in ("drop", "patterns", "summary"):
            for at in results[0][key][task]:
                expected[task, key, None, at] = [r[key][task][at] for r in results]
        expected[task, "natural", None, "all segments"] = [r["natural"][task] for r in results]
    for key, values in expected.items():
        assert found.pop(key) == (pytest.approx(np.mean(values)), pytest.approx(np.std(values, ddof=1)), 3)
    assert {key[1] for key in found} == {"rank", "wins", "cost"}


def test_tables_print_the_records(report: Report) -> None:
    results = evaluated(report, "mmt")
    part = next(part for part in report.parts if "verb" in part.section.tasks)
    table = part.tasks[0].blocks[0].tables[0]
    (row,) = [row for row in table.rows if row.label == "mmt"]
    for column, cell in zip(table.columns[1:], row.cells, strict=True):
        if column in results[0]["subsets"]:
            values = [result["subsets"][column]["action"]["top1"] for result in results]
            assert (cell.text, cell.spread) == (f"{np.mean(values):.1f}", f"{np.std(values, ddof=1):.1f}")
    assert row.cells[0].text == "3"
    mean = row.cells[table.columns.index("mean") - 1]
    assert mean.text == f"{np.mean([result['summary']['action']['avg_acc'] for result in results]):.1f}"


def test_the_best_of_every_column_is_marked(report: Report) -> None:
    for part in report.parts:
        for task in part.tasks:
            for table in (table for block in task.blocks for table in block.tables):
                if table.text_columns or len(table.rows) < 2 or table.columns[1] == "mean":  # words; costs
                    continue
                for i, column in enumerate(table.columns[1:]):
                    cells = [row.cells[i] for row in table.rows if row.kind == Kind.OURS]
                    if column == "seeds" or all(cell.text == "–" for cell in cells):
                        continue
                    choose = min if column in ("mean drop %", "mean rank") else max
                    best = choose(float(cell.text) for cell in cells)
                    assert [cell.best for cell in cells] == [float(cell.text) == best for cell in cells], column


def test_ranks_average_to_the_middle_and_wins_cover_all_subsets(report: Report) -> None:
    part = next(part for part in report.parts if "verb" in part.section.tasks)
    for task in part.tasks:
        assert np.mean(list(task.figures.ranks.values())) == pytest.approx((8 + 1) / 2)
        assert sum(task.figures.wins.values()) >= 7


def test_csv_reads_back_as_it_was(report: Report) -> None:
    text = render(report, "csv")
    read = list(csv.DictReader(io.StringIO(text, newline="")))
    written = records(report)
    assert tuple(read[0]) == COLUMNS
    assert len(read) == len(written) > 1000
    for line, record in zip(read, written, strict=True):
        for name, value in record.items():
            if isinstance(value, float):
                assert float(line[name]) == value  # to the last digit
            else:
                assert line[name] == ("" if value is None else str(value))
    json.dumps(written, allow_nan=False)


def test_markdown_tables_are_whole(report: Report) -> None:
    lines = render(report, "md").splitlines()
    widths: list[int] = []
    for line in lines:
        if line.startswith("|"):
            widths.append(len(re.findall(r"(?<!\\)\|", line)))
        elif widths:
            assert len(set(widths)) == 1
            assert len(widths) >= 3
            widths = []


def test_markdown_shows_text_as_it_is() -> None:
    assert escape("a|b *c* <d> `e`\nf") == r"a\|b \*c\* \<d\> \`e\` f"


def test_one_run_has_no_ranks_and_one_modality_no_curves(write_run, tmp_path: Path) -> None:
    write_run("alone", modalities=("rgb",), lacking=0, tasks={"class": 5})
    (part,) = make_report([tmp_path / "runs" / "alone"]).parts
    assert [block.title for block in part.tasks[0].blocks] == [
        "Every subset of the modalities",
        "Accuracy against cost",
    ]
    for name in ("md", "csv", "latex", "html"):
        assert "rgb" in render(make_report([tmp_path / "runs"]), name)


def test_only_the_tasks_asked_for(many_runs: Path) -> None:
    parts = make_report([many_runs], tasks=["noun"]).parts
    assert [task.task for part in parts for task in part.tasks] == ["noun"]
    with pytest.raises(ConfigError, match=r"unknown task 'nuon'\. Did you mean 'noun'"):
        make_report([many_runs], tasks=["nuon"])


def test_the_front_is_what_nobody_beats() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        costs = {f"m{i}": float(v) for i, v in enumerate(random.integers(1, 6, 9))}
        accuracies = {f"m{i}": float(v) for i, v in enumerate(random.integers(1, 6, 9))}
        undefeated = {
            a
            for a in costs
            if not any(
                costs[b] <= costs[a]
                and accuracies[b] >= accuracies[a]
                and (costs[b], accuracies[b]) != (costs[a], accuracies[a])
                for b in costs
            )
        }
        assert set(pareto(costs, accuracies)) == undefeated
