"""Every format of a report says which recipe each method was trained with."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest

from mmcache.fuse.report import Report, make_report, render
from mmcache.fuse.report.formats.records import records

BOTH = ("matched", "published")


@pytest.fixture
def report(write_run: Callable[..., Path], tmp_path: Path) -> Report:
    """Two strategies under both recipes, on the same segments."""
    for recipe in BOTH:
        for strategy in ("mmt", "dropout"):
            write_run(f"{strategy}-{recipe}", strategy, recipe=recipe)
    return make_report([tmp_path / "runs"])


def test_the_head_of_a_report_counts_segments_once_and_names_the_recipes(report: Report) -> None:
    assert "4 runs of 4 methods on 1 set of segments." in report.text
    assert "the recipes matched and published, which have sections of their own" in report.text


def test_one_recipe_is_named_too(write_run: Callable[..., Path], tmp_path: Path) -> None:
    write_run("alone", recipe="matched")
    made = make_report([tmp_path / "runs"])
    assert "All were trained with the matched recipe." in made.text
    (part,) = made.parts
    assert part.title.endswith("on 'validation', matched recipe")
    assert part.text.startswith("Recipe: matched, which is one network, head, regularisers")


def test_no_table_has_methods_of_two_recipes(report: Report) -> None:
    for part, recipe in zip(report.parts, BOTH, strict=True):
        folders = {run.path.name for method in part.section.methods for run in method.runs}
        assert folders == {f"mmt-{recipe}", f"dropout-{recipe}"}
        for task in part.tasks:
            assert set(task.figures.subsets) == {"mmt", "dropout"}


@pytest.mark.parametrize("name", ["md", "html", "latex"])
def test_pages_say_it_above_every_table(name: str, report: Report) -> None:
    text = render(report, name)
    for recipe in BOTH:
        assert f"{recipe} recipe" in text
    if name == "latex":  # its tables are copied one by one
        captions = [line for line in text.splitlines() if line.startswith(r"\caption")]
        assert captions
        continued = [line for line in captions if "Continued" not in line]
        assert all("recipe;" in line for line in continued)


def test_every_number_of_ours_says_it(report: Report) -> None:
    found = records(report)
    assert {(r["source"], r["recipe"]) for r in found} == {("ours", recipe) for recipe in BOTH}
    read = list(csv.DictReader(io.StringIO(render(report, "csv"), newline="")))
    assert [line["recipe"] for line in read] == [r["recipe"] for r in found]
    mine = {(r["recipe"], r["method"], r["task"], r["measure"], r["missing"], r["at"]) for r in found}
    assert len(mine) == len(found), "each number once"
