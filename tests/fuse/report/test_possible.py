"""What could have been reached, beside what was."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from mmcache.common.oracle_world import Oracle, class_of
from mmcache.fuse import evaluate
from mmcache.fuse.evaluation.curves import drop_curve, missing_rate_curve
from mmcache.fuse.report import make_report, render
from mmcache.fuse.report.read.possible import Possible


def test_the_best_possible_stands_on_top(oracle_runs: Path) -> None:
    report = make_report([oracle_runs])
    (part,) = report.parts
    found = part.section.possible
    assert found is not None
    assert found.best == Oracle(noise=2.0, skew=0.2).bayes_accuracy({"a": 8, "b": 8, "c": 8})
    row = part.tasks[0].blocks[0].tables[0].rows[0]
    assert row.label == "best possible (Bayes)"
    assert row.cells[1].text == f"{found.best['a+b+c']:.1f}"
    labels = class_of(Oracle(skew=0.2).factors([f"x{i}" for i in range(40_000)], 1))
    assert found.chance == pytest.approx(100 * np.bincount(labels).max() / len(labels), abs=0.5)
    assert "best possible" in render(report, "md")


def test_shares_run_from_chance_to_the_best_possible(oracle_runs: Path) -> None:
    (part,) = make_report([oracle_runs]).parts
    possible, (method,) = part.section.possible, part.section.methods
    assert possible is not None
    for subset, best in possible.best.items():
        assert possible.share(subset, best) == pytest.approx(100)
        assert possible.share(subset, possible.chance) == pytest.approx(0)
    mean = np.mean([evaluate(run.path)["subsets"]["a+b"]["class"]["top1"] for run in method.runs])
    share = 100 * (mean - possible.chance) / (possible.best["a+b"] - possible.chance)
    table = part.tasks[0].blocks[1].tables[0]
    assert table.rows[0].cells[table.columns.index("a+b") - 1].text == f"{share:.0f}"


def test_where_chance_is_the_best_there_is_no_share() -> None:
    assert Possible({"a": 50.0, "b": 50.4}, 50.0).share("b", 50.2) is None


def test_more_than_possible_is_flagged_beyond_noise_alone(oracle_runs: Path, tmp_path: Path) -> None:
    possible = Possible({"a": 50.0}, 10.0)
    assert not possible.exceeded("a", 54.5, 600)  # two standard errors
    assert possible.exceeded("a", 57.0, 600)  # three and a half
    assert not possible.exceeded("a", 57.0, 600, among=100)
    assert not possible.exceeded("a", 57.0, 100)
    assert "†" not in render(make_report([oracle_runs]), "md")
    runs = Path(shutil.copytree(oracle_runs, tmp_path / "runs"))
    import pandas as pd

    table = pd.read_parquet(runs / "skip-1" / "subsets.parquet")
    seen = table["subset"] == "c"
    table.loc[seen, ["class_top1", "class_top5"]] = True
    table.loc[seen, "class_pred"] = table.loc[seen, "class_label"]
    table.to_parquet(runs / "skip-1" / "subsets.parquet")
    report = make_report([runs])
    (task,) = report.parts[0].tasks
    assert task.figures.exceeds == {("skip", "c")}
    assert "†" in render(report, "md")
    assert r"^\dagger" in render(report, "latex")


def test_curves_of_the_best_possible_are_those_of_the_protocols() -> None:
    random = np.random.default_rng(0)
    n = 1000
    names = ("a", "b", "c", "a+b", "a+c", "b+c", "a+b+c")
    correct = {name: random.random(n) < 0.2 * len(name.split("+")) for name in names}
    possible = Possible({name: 100.0 * values.mean() for name, values in correct.items()}, 0.0)
    expected = drop_curve(correct)
    assert possible.drop_curve(list(expected)) == pytest.approx(expected)
    rates = missing_rate_curve(correct, "b")
    assert possible.rate_curve("b", list(rates)) == pytest.approx(rates, abs=4)  # an expectation, and one draw
    assert possible.rate_curve("b", ["0", "100"]) == pytest.approx({"0": rates["0"], "100": rates["100"]})


def test_a_store_that_is_gone_leaves_it_unknown(oracle_runs: Path, tmp_path: Path) -> None:
    runs = Path(shutil.copytree(oracle_runs, tmp_path / "runs"))
    for run in runs.iterdir():
        config = run / "config.yaml"
        config.write_text(config.read_text().replace("o.zarr", "gone.zarr"))
    text = render(make_report([runs]), "md")
    assert "What is possible on these data is not known here" in text
    assert "best possible" not in text
