"""Stored correctness stands for runs with sensors really gone, for every strategy (methods.md 1.1, 1.2 and 5)."""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mmcache.fuse.data.samplers import draw_masks
from mmcache.fuse.data.subsets import subset_index, subset_name, subsets
from mmcache.fuse.evaluation import curves
from mmcache.fuse.evaluation.evaluate import correctness
from mmcache.fuse.evaluation.scoring import score
from mmcache.fuse.network.model import Model
from mmcache.fuse.runs.spec import ModelSpec
from mmcache.fuse.strategies import STRATEGIES
from mmcache.store import FeatureStore
from mmcache.store.load.loader import Batch, Loader
from mmcache.store.load.order import id_keys

EPOCHS = 200  # of drawn masks


@pytest.fixture(scope="module")
def complete(store_path: Path) -> tuple[FeatureStore, Batch]:
    """The validation segments that have everything, in the order of their ids."""
    store = FeatureStore.open(store_path)
    rows = store.rows("validation")
    rows = rows[store.presence_matrix()[rows].all(axis=1)]
    rows = rows[np.argsort(store.segments["id"].to_numpy()[rows], kind="stable")]
    return store, Loader(store, None, rows, k=8).batch(rows)


@pytest.fixture
def untrained(small_model: Callable[..., Model], complete: tuple[FeatureStore, Batch]) -> Callable[[str], Model]:
    """A strategy's model for the store, with random parameters: its answers depend on what it sees."""
    store, _ = complete
    shapes = {m: (e, store.tokens[f"{m}/{e}"].shape[2], store.tokens[f"{m}/{e}"].shape[3]) for m, e in store.arrays}
    spec = ModelSpec({name: shapes[name] for name in store.modalities}, store.tasks)

    def make(strategy: str) -> Model:
        model = small_model(strategy, spec)
        with torch.no_grad():
            for projector in model.projectors:
                projector.weight.mul_(10.0)
            for name, parameter in model.head.named_parameters():
                if name.startswith("tasks.") and name.endswith(".bias"):
                    parameter.zero_()
        return model

    return make


@torch.inference_mode()
def hits(model: Model, batch: Batch, kept: NDArray[np.bool_]) -> dict[str, NDArray[np.bool_]]:
    """Task -> (n,) whether the model is right when that is all that sensors deliver; nothing is left of the rest."""
    present = torch.from_numpy(kept)
    tokens = {
        name: torch.where(present[:, m, None, None], values, torch.nan)
        for m, (name, values) in enumerate(batch.tokens.items())
    }
    logits = model(tokens, present, lengths=batch.lengths)
    right = {task: (values.argmax(dim=1) == batch.labels[task]).numpy() for task, values in logits.items()}
    return {**right, "action": right["verb"] & right["noun"]}


@pytest.mark.holds("every", "5.4 acc(r) is that of a masked run, and the drop curve that of drawn masks")
@pytest.mark.holds("every", "5.5 the sets that lack a sensor are nested, of round(r N) segments")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_rate_curve_is_that_of_runs_without_the_sensor(
    strategy: str, untrained: Callable[[str], Model], complete: tuple[FeatureStore, Batch]
) -> None:
    """Assertions 4 and 5: acc(r) exactly; the sets that lack the sensor are nested, and of round(r n) segments."""
    store, batch = complete
    model, n = untrained(strategy), len(batch.rows)
    table = score(model, store, batch.rows, 8)
    rank = curves.missing_ranks(n)
    for m, name in enumerate(batch.modalities):
        sets = [rank < round(rate * n / 100) for rate in curves.RATES]
        assert [int(lacking.sum()) for lacking in sets] == [round(rate * n / 100) for rate in curves.RATES]
        assert not any((smaller & ~larger).any() for smaller, larger in itertools.pairwise(sets))
        for rate, lacking in zip(curves.RATES, sets, strict=True):
            kept = np.ones((n, len(batch.modalities)), bool)
            kept[lacking, m] = False
            for task, right in hits(model, batch, kept).items():
                curve = curves.missing_rate_curve(correctness(table, task), name)
                assert curve[str(rate)] == curves.accuracy(right)


@pytest.mark.holds("every", "5.4 acc(r) is that of a masked run, and the drop curve that of drawn masks")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_drop_curve_is_the_mean_of_drawn_masks(
    strategy: str, untrained: Callable[[str], Model], complete: tuple[FeatureStore, Batch]
) -> None:
    """Assertion 4: the closed form within three standard errors of Monte Carlo, each draw looked up where it lies."""
    store, batch = complete
    model, names = untrained(strategy), batch.modalities
    keys = id_keys(store.segments["id"].to_numpy()[batch.rows])
    everything = np.ones((len(batch.rows), len(names)), bool)
    every = [hits(model, batch, np.tile(mask, (len(everything), 1))) for mask in subsets(len(names))]
    stored = {
        task: {subset_name(m, names): e[task] for m, e in zip(subsets(3), every, strict=True)} for task in every[0]
    }
    for percent in (30, 60, 90):
        drawn = [draw_masks("bernoulli_keep_one", everything, keys, 0, e, percent / 100) for e in range(EPOCHS)]
        actual = hits(model, batch, drawn[0])
        for task, correct in stored.items():
            table = np.stack([one[task] for one in every])  # (S, n)
            found = np.stack([table[subset_index(kept), np.arange(len(kept))] for kept in drawn])
            assert (found[0] == actual[task]).all()
            error = 100 * found.std() / np.sqrt(found.size)
            assert curves.drop_curve(correct)[str(percent)] == pytest.approx(100 * found.mean(), abs=3 * error + 1e-9)


@pytest.mark.holds("every", "5.4 acc(r) is that of a masked run, and the drop curve that of drawn masks")
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_random_models_answer_by_what_they_see(
    strategy: str, untrained: Callable[[str], Model], complete: tuple[FeatureStore, Batch]
) -> None:
    """The two tests above would hold of a model that always says the same; these do not."""
    store, batch = complete
    table = score(untrained(strategy), store, batch.rows, 8)
    correct = correctness(table, "verb")
    assert len({values.tobytes() for values in correct.values()}) > 1
