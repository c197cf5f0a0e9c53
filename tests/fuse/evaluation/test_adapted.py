"""MiDl's invariants on actual streams: what must equal the model that does not adapt (methods 3.6)."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mmcache.fuse import Model, evaluate
from mmcache.fuse.data.eligible import evaluated_rows
from mmcache.fuse.evaluation.adapted import adapted_rates
from mmcache.fuse.parts.test_time import TEST_TIME, step_options
from mmcache.store import ConfigError, FeatureStore


def adapted(run: Path, store: FeatureStore, step: str = "midl", **options: object) -> dict:
    rows = evaluated_rows(store, "validation", store.modalities)
    return adapted_rates(Model.load(run), store, rows, 8, step, step_options(step, options), batch_size=8)


@pytest.mark.parametrize("step", TEST_TIME)
@pytest.mark.parametrize("mode", ["stream", "two_phase"])
def test_without_a_step_the_curves_are_those_of_indexing(mode: str, step: str, run: Path, store_path: Path) -> None:
    """lr = 0: assertion 4 of methods.md 5, from actual masked runs."""
    found = adapted(run, FeatureStore.open(store_path), step, adapt_mode=mode, adapt_lr=0.0)
    expected = evaluate(run)["rates"]
    assert set(found) == {"audio", "imu", "rgb"}
    for name, tasks in found.items():
        for task, curve in tasks.items():
            assert curve == pytest.approx(expected[name][task])


@pytest.mark.holds("midl", "3.6 with r_test = 100 % or lr = 0 nothing adapts")
def test_with_everything_missing_nothing_adapts(run: Path, store_path: Path) -> None:
    store = FeatureStore.open(store_path)
    found = adapted(run, store, adapt_lr=1.0)
    expected = evaluate(run)["rates"]
    for name, tasks in found.items():
        for task, curve in tasks.items():
            assert curve["100"] == pytest.approx(expected[name][task]["100"])
    moved = [found[n][t][r] != expected[n][t][r] for n in found for t in found[n] for r in ("0", "25", "50", "75")]
    assert any(moved)  # a step that large changes what comes after it
    assert adapted(run, store, adapt_lr=1.0) == found


def test_one_modality_has_nothing_to_agree_with(
    make_run: Callable[..., Path], write_store: Callable[..., Path]
) -> None:
    path = write_store(("rgb",))
    with pytest.raises(ConfigError, match="one modality cannot adapt at test time: its predictions"):
        adapted(make_run(store=path, epochs=1), FeatureStore.open(path))


def test_it_may_adapt_to_train_first(run: Path, store_path: Path) -> None:
    """Then something has moved even where no test segment is complete (MiDl-LTA)."""
    store = FeatureStore.open(store_path)
    found, before = adapted(run, store, adapt_lr=1.0, adapt_first=True), adapted(run, store, adapt_lr=1.0)
    assert any(found[name][task]["100"] != before[name][task]["100"] for name in found for task in found[name])


def test_an_unknown_step_is_named_with_those_there_are(run: Path, store_path: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'tent'"):
        adapted(run, FeatureStore.open(store_path), "tnt")
