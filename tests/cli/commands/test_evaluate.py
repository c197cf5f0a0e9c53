"""mmcache evaluate: what it prints of one run and of several, and the files it writes."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from mmcache.fuse import train
from mmcache.store import FeatureStore

QUICK = {"width": 16, "heads": 2, "k": 6, "epochs": 1, "batch_size": 8, "device": "cpu"}


@pytest.fixture(scope="module")
def run(epic_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A run on epic_store, trained the first time it is asked for."""
    folder = tmp_path_factory.mktemp("runs")

    def make(strategy: str, seed: int = 0, recipe: str = "published") -> Path:
        out = folder / f"{strategy}{seed}{recipe[0]}"
        return train(strategy, {**QUICK, "store": epic_store, "out": out, "seed": seed}, recipe=recipe).path

    return make


def test_one_run_is_shown_under_every_protocol(mmcache: Callable, run: Callable[..., Path]) -> None:
    done = mmcache("evaluate", run("skip"), "--cost", "--noise", "--windows", "2")
    assert done.code == 0
    for heading in (
        "10 segments with every sensor",
        "95 % interval",
        "With every sensor",
        "One sensor missing in so many of the segments",
        "Some sensor or other missing in so many of the segments",
        "Each sensor missing with this chance",
        "Over all subsets",
        "One sensor missing for so much of each segment",
        "audio cannot be missing for a part of a segment: tokens of ast_demo are not in the order of time",
        "Gaussian noise, by level",
        "Robustness to noise",
        "Cost of one segment on cpu",
        "All 14 segments, each with what it has",
        "published recipe",
    ):
        assert heading in done.out, heading
    assert max(map(len, done.out.splitlines())) <= 120


def test_json_keeps_its_form_and_adds_to_it(mmcache: Callable, run: Callable[..., Path]) -> None:
    path = run("skip")
    result = json.loads(mmcache("evaluate", path, "--json").out)
    assert list(result)[:7] == ["run", "split", "n", "subsets", "rates", "drop", "summary"]
    assert set(result["subsets"]["audio+rgb"]["verb"]) == {"top1", "top5", "class_mean", "ece"}
    low, high = result["intervals"]["verb"]["subsets"]["rgb"]
    assert low <= result["subsets"]["rgb"]["verb"]["top1"] <= high
    several = json.loads(mmcache("evaluate", path, run("zeros"), "--json").out)
    assert [r["run"] for r in several["runs"]] == [str(path), str(run("zeros"))]
    assert several["recipes"] == {"skip": "published", "zeros": "published"}
    assert result["recipe"] == "published"
    assert set(several["ranks"]["verb"]) == {"skip", "zeros"}
    assert several["runs"][0]["subsets"] == result["subsets"]


def test_rates_may_count_what_is_missing_by_nature(mmcache: Callable, run: Callable[..., Path]) -> None:
    done = mmcache("evaluate", run("skip"), "--rates", "natural")
    assert "One sensor missing in so many of all segments, with those incomplete by nature" in done.out
    assert "29 %" in done.out, "4 of 14 segments lack IMU"
    refused = mmcache("evaluate", run("skip"), "--rates", "all")
    assert refused.code == 2
    assert "unknown --rates 'all'" in refused.err


def test_several_runs_are_shown_side_by_side(mmcache: Callable, run: Callable[..., Path]) -> None:
    done = mmcache("evaluate", run("skip"), run("skip", seed=1), run("zeros"))
    assert "3 runs of 2 methods on 'validation'" in done.out
    assert "published recipe; mean" in " ".join(done.out.split())
    assert "mean ± standard deviation over seeds" in done.out
    assert "(mean rank)" in done.out
    assert done.out.count("±") > 7


def test_runs_of_two_recipes_are_never_taken_for_one_method(mmcache: Callable, run: Callable[..., Path]) -> None:
    """Every name then says its recipe, also that of a strategy that is there under one alone."""
    paths = run("moddrop"), run("moddrop", recipe="matched"), run("skip")
    names = {"moddrop (published)": "published", "moddrop (matched)": "matched", "skip (published)": "published"}
    done = mmcache("evaluate", *paths)
    assert "recipes published and matched, named with each method" in " ".join(done.out.split())
    assert all(name.split()[1] in done.out for name in names)
    assert json.loads(mmcache("evaluate", *paths, "--json").out)["recipes"] == names


def test_a_step_at_test_time_takes_options_of_its_own(mmcache: Callable, run: Callable[..., Path]) -> None:
    arguments = ("evaluate", run("skip"), "--test-time", "tent", "--set")
    still = json.loads(mmcache(*arguments, "adapt_lr=0", "--json").out)
    assert still["adapted"] == still["rates"]
    assert "The same, adapting while testing" in mmcache(*arguments, "adapt_lr=0").out
    refused = mmcache(*arguments, "adapt_rl=0")
    assert (refused.code, "Did you mean 'adapt_lr'?" in refused.err) == (2, True)
    assert "name a step" in mmcache("evaluate", run("skip"), "--set", "adapt_lr=0").err


def test_a_submission_is_written_and_said(mmcache: Callable, run: Callable[..., Path]) -> None:
    done = mmcache("evaluate", run("skip"), "--submission", "out.zip", "--split", "test")
    assert (done.code, done.out.strip()) == (0, "2 segments for the challenge action_recognition -> out.zip")
    with zipfile.ZipFile("out.zip") as archive:
        assert len(json.loads(archive.read("test.json"))["results"]) == 2
    assert mmcache("evaluate", run("skip"), run("zeros"), "--submission", "out.zip").code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--few-shot"], "0 verb classes that train has not"),
        (["--windows", "1"], "at least 2 are needed"),
        (["--protocol", "xsub"], "unknown protocol"),
        (["--split", "test"], "has no labelled segment"),
        (["--device", "cuda:7"], "cuda:7"),
    ],
)
def test_what_cannot_be_had_is_said(
    arguments: list[str], message: str, mmcache: Callable, run: Callable[..., Path]
) -> None:
    done = mmcache("evaluate", run("skip"), *arguments)
    assert done.code == 2
    assert message in done.err


def test_nouns_that_train_never_shows_may_be_left_out(
    mmcache: Callable, run: Callable[..., Path], epic_store: Path
) -> None:
    store = FeatureStore.open(epic_store)
    rows = store.rows("validation")
    rows = rows[store.presence_matrix()[rows].all(axis=1)]
    known = set(store.labels("noun")[store.segments["split"] == "train"])
    kept = sum(label in known for label in store.labels("noun")[rows])
    assert json.loads(mmcache("evaluate", run("skip"), "--prune", "--json").out)["n"] == kept


def test_no_run_is_no_traceback(mmcache: Callable, tmp_path: Path) -> None:
    done = mmcache("evaluate", tmp_path / "nothing")
    assert done.code == 2
    assert "is not a finished run (no such folder)" in done.err
