"""Several runs side by side, and what a run's folder and store add to its results."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from mmcache.common.oracle_world import Oracle
from mmcache.fuse import Model, evaluate
from mmcache.fuse.evaluation.comparison import compare, method_names, robustness
from mmcache.fuse.evaluation.cost import costs
from mmcache.fuse.evaluation.measured import Wanted, measure
from mmcache.store import ConfigError, StoreError


@pytest.fixture(scope="module")
def runs(run: Path, make_run: Callable[..., Path]) -> list[Path]:
    """One method with two seeds, another with one."""
    return [run, make_run(seed=1), make_run("zeros")]


def test_runs_that_differ_in_their_seed_are_one_method(runs: list[Path], make_run: Callable[..., Path]) -> None:
    assert method_names(runs) == ["skip", "skip", "zeros"]
    other = make_run(lr=0.02, epochs=1)
    assert method_names([*runs, other]) == [
        "skip (epochs=2, lr=0.01)", "skip (epochs=2, lr=0.01)", "zeros", "skip (epochs=1, lr=0.02)"
    ]  # fmt: skip


def test_every_method_says_its_recipe_where_runs_have_several(runs: list[Path], make_run: Callable[..., Path]) -> None:
    """Ranked side by side, but never one method, and no matrix of rates mixes them."""
    several = [*runs, make_run(recipe="matched", train_missing={"rgb": 0.5})]
    assert method_names(several) == [
        "skip (published, train_missing={})", "skip (published, train_missing={})", "zeros (published)",
        'skip (matched, train_missing={"rgb": 0.5})',
    ]  # fmt: skip
    found = compare(several, [evaluate(run) for run in several])
    assert list(found["recipes"].values()) == ["published", "published", "matched"]
    assert len(found["spread"]) == 3
    assert found["rate_matrix"] == {}


def test_spread_and_ranks_are_those_of_the_runs(runs: list[Path]) -> None:
    results = [evaluate(run) for run in runs]
    found = compare(runs, results)
    assert found["recipes"] == {"skip": "published", "zeros": "published"}
    for subset, figures in results[0]["subsets"].items():
        two = [result["subsets"][subset]["verb"]["top1"] for result in results[:2]]
        spread = found["spread"]["skip"]["verb"]["subsets"][subset]
        assert spread["mean"] == pytest.approx(np.mean(two))
        assert spread["std"] == pytest.approx(np.std(two, ddof=1))
        assert found["spread"]["zeros"]["verb"]["subsets"][subset]["std"] is None
        assert set(figures) == {"verb", "noun", "action"}
    for task in ("verb", "noun", "action"):
        assert sum(found["ranks"][task].values()) == pytest.approx(3)  # two methods: 1.5 on average
    assert found["rate_matrix"] == {}
    json.dumps(found, allow_nan=False)


def test_one_method_alone_has_no_rank(runs: list[Path]) -> None:
    assert compare(runs[:2], [evaluate(run) for run in runs[:2]])["ranks"] == {}


def test_different_segments_are_not_compared(runs: list[Path]) -> None:
    results = [evaluate(runs[0]), evaluate(runs[1], split="train")]
    with pytest.raises(ConfigError, match=r"report on different segments: .*'validation', 38 .*'train', 60"):
        compare(runs[:2], results)


def test_rates_in_training_against_rates_at_test(runs: list[Path], tmp_path: Path) -> None:
    """Runs that say what they missed in training become the rows of a matrix."""
    told = []
    for run, rate in zip(runs[:2], (0.0, 0.5), strict=True):
        copy = tmp_path / f"missed{rate:g}"
        copy.mkdir()
        for path in run.iterdir():
            (copy / path.name).write_bytes(path.read_bytes())
        saved = yaml.safe_load((copy / "config.yaml").read_text())
        saved["options"]["data"]["train_missing"] = {"rgb": rate} if rate else {}
        del saved["sha256"]
        (copy / "config.yaml").write_text(yaml.safe_dump(saved))
        told.append(copy)
    results = [evaluate(run) for run in runs[:2]]
    matrix = compare(told, results)["rate_matrix"]
    assert list(matrix) == ["rgb"]
    for share, result in zip(("0", "50"), results, strict=True):
        assert matrix["rgb"]["verb"][share] == result["rates"]["rgb"]["verb"]


@pytest.mark.holds("shared", "1.7 a constant has its own area, and late fusion effective robustness 0")
def test_effective_robustness_of_the_reference_is_zero(runs: list[Path]) -> None:
    results = []
    for run in (runs[0], runs[2]):
        result = evaluate(run)
        results.append({**result, **measure(run, result, Wanted(noise=True))})
    found = robustness(results, results[1])
    assert set(found) == {"gaussian", "elements", "steps"}
    for tasks in found.values():
        for by_run in tasks.values():
            assert by_run[str(runs[2])]["effective"] == pytest.approx(0, abs=1e-9)
            assert {figures["relative_normalised"] for figures in by_run.values()} <= {0.0, 1.0}
    assert "effective" not in robustness(results, None)["gaussian"]["verb"][str(runs[0])]


def test_costs_are_taken_from_the_run_or_measured(run: Path, tmp_path: Path) -> None:
    result = evaluate(run)
    measured = measure(run, result, Wanted(cost=True))["cost"]
    assert measured["parameters"] == sum(p.numel() for p in Model.load(run).parameters())
    copy = tmp_path / "run"
    copy.mkdir()
    for path in run.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    summary = json.loads((copy / "summary.json").read_text())
    (copy / "summary.json").write_text(json.dumps({**summary, "cost": costs(Model.load(run))}))
    kept = measure(copy, result, Wanted())["cost"]
    assert {name: f["flops"] for name, f in kept["subsets"].items()} == {
        name: f["flops"] for name, f in measured["subsets"].items()
    }


def test_zero_shot_is_what_labels_never_saw(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    copy.mkdir()
    for path in run.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    saved = yaml.safe_load((copy / "config.yaml").read_text())
    saved["options"]["data"]["train_modalities"] = ["rgb"]
    del saved["sha256"]
    (copy / "config.yaml").write_text(yaml.safe_dump(saved))
    result = evaluate(run)
    found = measure(copy, result, Wanted())["zero_shot"]
    assert found["trained_on"] == ["rgb"]
    assert set(found["subsets"]) == {"audio", "imu", "audio+imu"}
    assert found["subsets"]["imu"]["noun"] == result["subsets"]["imu"]["noun"]["top1"]


def test_a_run_is_shown_where_its_store_is_gone(
    make_run: Callable[..., Path], write_store: Callable[..., Path]
) -> None:
    store = write_store(("audio", "rgb"))
    run = make_run(store=store, epochs=1)
    store.rename(store.with_name("gone.zarr"))
    result = evaluate(run)
    assert not set(measure(run, result, Wanted())) - {"cost"}
    with pytest.raises(StoreError, match="no store at"):
        measure(run, result, Wanted(noise=True))


def test_the_best_possible_is_known_of_the_oracle_alone(run: Path, oracle_run: Path) -> None:
    assert "bayes" not in measure(run, evaluate(run), Wanted())
    best = measure(oracle_run, evaluate(oracle_run), Wanted())["bayes"]
    expected = Oracle(noise=2.0, skew=0.2).bayes_accuracy({"a": 8, "b": 8, "c": 8})
    assert best == {subset: {"class": value} for subset, value in expected.items()}
