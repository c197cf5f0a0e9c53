"""Names come from data: whatever they hold, each format shows them as text."""

import unicodedata
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest

from mmcache.fuse.report import make_report, render
from mmcache.fuse.report.blocks import Report
from mmcache.fuse.runs.drawing import to_svg

HOSTILE = "a\x1b[2J\x07\u202e$\\frac<b>x</b>\x00"


@pytest.fixture
def report(write_run: Callable[..., Path], tmp_path: Path) -> Report:
    for strategy in ("skip", "zeros"):
        write_run(strategy, strategy, tasks={HOSTILE: 3}, dataset=f"data {HOSTILE}", split=f"split {HOSTILE}", n=8)
    broken = write_run("broken\x1b\u202e", "skip")
    (broken / "summary.json").unlink()
    return make_report([tmp_path / "runs"], title=f"report {HOSTILE}")


@pytest.mark.parametrize("name", ["md", "csv", "latex", "html"])
def test_no_format_holds_a_control_character(name: str, report: Report) -> None:
    text = render(report, name)
    steering = {c for c in text if unicodedata.category(c) in ("Cc", "Cf") and c not in "\r\n"}
    assert not steering
    assert "<b>x</b>" not in text or name in ("csv", "latex")
    if name != "latex":
        assert "\\x1b" in text.replace("\\\\", "\\").replace("&#", "")


def test_plots_are_whole_xml_whatever_the_names(report: Report) -> None:
    plots = [plot for part in report.parts for task in part.tasks for block in task.blocks for plot in block.plots]
    assert plots
    for plot in plots:
        ET.fromstring(to_svg(plot.draw()))
