"""Few-shot episodes: the arithmetic by hand, the invariant of repeated supports, and what it needs."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mmcache.fuse import Model
from mmcache.fuse.data.rows import choose_rows
from mmcache.fuse.evaluation.fewshot import _accuracy, few_shot, novel_classes
from mmcache.fuse.options.resolve import resolve_options
from mmcache.store import ConfigError, FeatureStore

SMALL = {"ways": 2, "shots": 3, "queries": 4, "episodes": 50}


@pytest.fixture(scope="module")
def novel(write_store: Callable[..., Path], make_run: Callable[..., Path]) -> tuple[Model, FeatureStore]:
    """A store whose validation split has two verbs that train has not, and a run on it."""
    path = write_store(novel=True)
    return Model.load(make_run(store=path, epochs=12)), FeatureStore.open(path)


def test_accuracy_is_that_of_the_nearest_prototype() -> None:
    rng = np.random.default_rng(0)
    support, query = (torch.from_numpy(rng.standard_normal((30, 4))) for _ in range(2))
    ways, shots, queries = 3, 2, 4
    drawn = np.stack([rng.permutation(30)[: ways * (shots + queries)] for _ in range(20)])
    hits = []
    for episode in drawn:
        means = [support[episode[w * shots : (w + 1) * shots]].mean(dim=0) for w in range(ways)]
        right = 0
        for i, row in enumerate(episode[ways * shots :]):
            distances = [float(((query[row] - mean) ** 2).sum()) for mean in means]
            right += int(np.argmin(distances)) == i // queries
        hits.append(100 * right / (ways * queries))
    found = _accuracy(support, query, drawn, ways, shots)
    assert found["mean"] == pytest.approx(np.mean(hits))
    assert found["ci95"] == pytest.approx(1.96 * np.std(hits, ddof=1) / 20**0.5)


@pytest.mark.holds("mmg", "3.5 one-shot queries that repeat their supports are all predicted right")
def test_queries_that_repeat_distinct_supports_are_all_right() -> None:
    """MMG-Ego4D's invariant: one shot, the same segments, the same modalities."""
    embedded = torch.randn(10, 6, generator=torch.Generator().manual_seed(0))
    drawn = np.array([[0, 1, 2, 0, 1, 2], [7, 3, 5, 7, 3, 5]])
    assert _accuracy(embedded, embedded, drawn, ways=3, shots=1)["mean"] == 100


def test_new_classes_are_those_train_has_not(novel: tuple[Model, FeatureStore], store_path: Path) -> None:
    _, store = novel
    assert novel_classes(store, "validation", "verb").tolist() == [1, 2]
    assert novel_classes(store, "train", "verb").tolist() == []
    assert novel_classes(FeatureStore.open(store_path), "validation", "verb").tolist() == []


@pytest.mark.holds("shared", "1.6 few-shot over new classes, for any pair of modality sets")
def test_every_pair_of_modality_sets_is_told(novel: tuple[Model, FeatureStore]) -> None:
    found = few_shot(*novel, "validation", 8, **SMALL)
    names = {"audio", "imu", "rgb", "audio+imu", "audio+rgb", "imu+rgb", "audio+imu+rgb"}
    assert set(found["accuracy"]) == names
    assert all(set(queries) == names for queries in found["accuracy"].values())
    assert (found["task"], found["classes"], found["ways"]) == ("verb", 2, 2)
    assert found["accuracy"]["audio+imu+rgb"]["audio+imu+rgb"]["mean"] > 60  # verbs stand in the tokens; chance is 50
    again = few_shot(*novel, "validation", 8, **SMALL)
    assert again == found
    assert few_shot(*novel, "validation", 8, **SMALL, seed=1) != found


@pytest.fixture(scope="module")
def base_and_novel(write_small_store: Callable[..., Path]) -> Path:
    """Base and novel clips in every split, unlabelled ones in train, as lists of MMG-Ego4D have them."""
    splits = ["train"] * 18 + ["validation"] * 6 + ["test"] * 24
    label = [row % 3 for row in range(48)]
    label[15:18] = [-1] * 3
    kinds = ["" if c < 0 else "novel" if c == 2 else "base" for c in label]
    return write_small_store(splits, labels=label, class_set=kinds)


def test_base_classes_are_learned_and_reported_and_novel_ones_are_not(base_and_novel: Path, make_run: Callable) -> None:
    store, options = FeatureStore.open(base_and_novel), resolve_options("mmg", {"test": {"align_share": 0.5}})
    rows = choose_rows(options, store, {"audio": "audio/enc", "rgb": "rgb/enc"}, "test")
    kinds = store.segments["class_set"].to_numpy()
    for chosen in (rows.train, rows.validation, rows.evaluated):
        assert set(kinds[chosen]) == {"base"}
    assert set(kinds[rows.align]) == {"base", "novel", ""}, "alignment needs no labels"
    result = json.loads((make_run("mmg", store=base_and_novel, epochs=4) / "summary.json").read_text())
    assert result["n"] == 16, "top-1 is over the base classes of the test"
    assert result["notes"] == [
        "8 segments of 'test' have novel classes and are not in the top-1 accuracy: "
        "`mmcache evaluate RUN --few-shot` measures them by episodes"
    ]


def test_novel_classes_are_measured_by_episodes(write_small_store: Callable[..., Path], make_run: Callable) -> None:
    """Also where a list puts novel clips into train, for supports: nothing learns their labels."""
    splits, label = ["train"] * 24 + ["test"] * 24, [row % 3 for row in range(48)]
    kinds = ["base" if c == 0 else "novel" for c in label]
    path = write_small_store(splits, labels=label, class_set=kinds)
    store = FeatureStore.open(path)
    assert novel_classes(store, "test", "class").tolist() == [1, 2]
    model = Model.load(make_run("mmg", store=path, epochs=2))
    found = few_shot(model, store, "test", 8, ways=2, shots=3, queries=4, episodes=20)
    assert (found["classes"], found["ways"]) == (2, 2)


def test_a_test_of_novel_classes_alone_is_said(write_small_store: Callable[..., Path], make_run: Callable) -> None:
    """Lists that say base and novel and nothing else: their top-1 is 0, and the note says why."""
    kinds = ["base"] * 16 + ["novel"] * 16
    path = write_small_store(["train"] * 16 + ["test"] * 16, labels=[0, 1] * 8 + [2] * 16, class_set=kinds)
    result = json.loads((make_run("mmg", store=path) / "summary.json").read_text())
    assert result["subsets"]["audio+rgb"]["class"]["top1"] == 0
    assert any("16 segments of 'test' have novel classes and are the only ones there" in n for n in result["notes"])


def test_too_few_new_classes_are_said(novel: tuple[Model, FeatureStore], run: Path, store_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"split 'validation' has 2 verb classes that train has not, 2 of them"):
        few_shot(*novel, "validation", 8)
    with pytest.raises(ConfigError, match=r"has 0 verb classes that train has not"):
        few_shot(Model.load(run), FeatureStore.open(store_path), "validation", 8, **SMALL)
