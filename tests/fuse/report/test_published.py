"""Published figures stand beside ours only where task, measure and protocol are the same."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mmcache.fuse import evaluate
from mmcache.fuse.report import Report, make_report, render
from mmcache.fuse.report.formats.records import records
from mmcache.fuse.report.read.published import TABLES

VFA = ("audio", "flow", "rgb")
EPIC = {"verb": 97, "noun": 300}


def published(report: Report, task: str) -> tuple[list[str], dict[str, str]]:
    """Titles of the tables that ours stand in, and title -> reason of the others."""
    (part,) = [t for section in report.parts for t in section.tasks if t.task == task]
    blocks = [block for block in part.blocks if block.title == "Beside published figures"]
    beside, apart = [], {}
    for table in (table for block in blocks for table in block.tables):
        if table.columns[0] == "source":
            apart = {f"{row.label}: {row.cells[0].text}": row.cells[1].text for row in table.rows}
        else:
            beside.append(table.title)
    return beside, apart


def test_figures_are_percentages_in_columns_of_their_measure() -> None:
    assert len(TABLES) > 30
    for table in TABLES:
        for row in table.rows.values():
            assert row
            assert all(0 <= value <= 100 for value in row.values())
        if table.measure == "subsets" and not table.apart:
            assert all(set(column.split("+")) <= set(table.modalities) for column in table.columns)
        if table.measure in ("rates", "drops"):
            assert all(column.isdigit() for column in table.columns)
            assert table.missing in ("", *table.modalities)


def test_derived_figures_agree_with_the_tables_they_are_derived_from() -> None:
    """KARMMA's Fig. 4 at its ends, and its drop curve by our closed form, from its table of subsets."""
    (table,) = [t for t in TABLES if t.title == "Every subset" and t.dataset == "ssv2"]
    (curve,) = [t for t in TABLES if t.measure == "drops" and t.dataset == "ssv2"]
    accuracy = table.rows["with missing tokens (w/ delta)"]
    single = sum(accuracy[name] for name in table.modalities) / 3
    for percent, printed in curve.rows["with missing tokens (w/ delta)"].items():
        p = float(percent) / 100
        sizes = {name: name.count("+") + 1 for name in accuracy}
        kept = sum((1 - p) ** size * p ** (3 - size) * accuracy[name] for name, size in sizes.items())
        assert printed == pytest.approx(kept + p**3 * single, abs=0.35)


def test_the_same_protocol_is_set_beside(write_run: Callable[..., Path], tmp_path: Path) -> None:
    path = write_run("ours", "karmma", modalities=VFA, tasks=EPIC)
    report = make_report([tmp_path / "runs"])
    beside, apart = published(report, "action")
    assert "Every subset; published: KARMMA (arXiv 2504.08578)" in beside
    assert (
        "ours the usual division"
        in apart["KARMMA (arXiv 2504.08578): Every subset, models selected on a tenth of train (EK*)"]
    )
    assert (
        "theirs reads audio, rgb, ours audio, flow, rgb"
        in published(report, "verb")[1]["MMT (CVPR-W 2025): Video missing"]
    )
    (path / "model.safetensors").touch()
    pruned = evaluate(path, prune=True)["subsets"]["rgb"]["action"]["top1"]
    assert pruned != evaluate(path)["subsets"]["rgb"]["action"]["top1"]  # one segment is left out
    lines = [line for line in render(report, "md").splitlines() if line.startswith("| karmma | ")]
    assert any(f"{pruned:.2f}" in line for line in lines)
    text = render(report, "md")
    assert "| *Baseline, published* | 40.00 | 36.80 | 37.48 | 5.49 | 32.10 | 2.58 | 2.05 |" in text
    found = [r for r in records(report) if r["source"] == "published" and r["measure"] == "subsets"]
    assert {r["mean"] for r in found} >= {40.0, 36.8, 37.48}


def test_rates_are_set_beside_for_the_modality_that_is_missing(write_run: Callable[..., Path], tmp_path: Path) -> None:
    write_run("ours", "mmt", modalities=("audio", "rgb"), tasks={"sound": 44}, dataset="epic-sounds")
    report = make_report([tmp_path / "runs"])
    beside, apart = published(report, "sound")
    assert len(beside) == 4
    assert not apart
    assert "| *MMT, published* | 56.3 | 52.3 | 48.6 | 44.6 | 40.7 |" in render(report, "md")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"tasks": {"action": 10}}, "theirs tells 60 action classes apart, ours 10"),
        ({"tasks": {"action": 60}, "split": "train"}, "ours are measured on the training split"),
        ({"tasks": {"action": 60}, "protocol": "xview"}, "theirs is the usual division, ours the division xview"),
        ({"tasks": {"action": 60}, "modalities": ("ir", "rgb")}, "theirs reads depth, ir, rgb, ours ir, rgb"),
    ],
)
def test_another_protocol_is_not(options: dict, reason: str, write_run: Callable[..., Path], tmp_path: Path) -> None:
    write_run("ours", **{"dataset": "ntu60", "split": "test", "modalities": ("depth", "ir", "rgb"), **options})
    beside, apart = published(make_report([tmp_path / "runs"]), "action")
    assert not beside
    assert apart["ActionMAE (AAAI 2023): Every subset"] == reason


def test_data_that_nobody_published_on_have_no_such_block(write_run: Callable[..., Path], tmp_path: Path) -> None:
    write_run("ours", dataset="manifest")
    text = render(make_report([tmp_path / "runs"]), "md")
    assert "Beside published figures" not in text
    assert "published*" not in text
