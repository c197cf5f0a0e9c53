"""MMG-Ego4D (methods.md 3.5): alignment, the zero-shot and the few-shot settings."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mmcache.fuse import Model, train
from mmcache.fuse.data.episodes import draw_episodes, episode_masks
from mmcache.fuse.data.validation import split_validation
from mmcache.fuse.evaluation.curves import accuracy
from mmcache.fuse.evaluation.evaluate import correctness
from mmcache.fuse.evaluation.scoring import score
from mmcache.fuse.parts.losses.align import align
from mmcache.fuse.parts.losses.prototypes import prototype_logits, prototypes
from mmcache.fuse.training.trainee import Trainee
from mmcache.store import ConfigError, FeatureStore

QUICK = {"width": 16, "heads": 2, "k": 6, "epochs": 4, "warmup": 0.0, "batch_size": 8, "device": "cpu", "depth": 2}
ROWS = np.arange(100, 160)
LABELS = np.repeat(np.arange(10), 6)


def metrics(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.holds("mmg", "3.5 one-shot queries that repeat their supports are all predicted right")
def test_queries_that_repeat_distinct_supports_are_all_right() -> None:
    features = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([7, 3, 9, 1, 4])
    logits, classes = prototype_logits(features, labels, features)
    assert torch.equal(classes[logits.argmax(dim=1)], labels)
    assert float(logits.max()) == 0.0


def test_the_prototype_is_the_mean_of_its_supports() -> None:
    support = torch.tensor([[0.0, 0.0], [2.0, 0.0], [5.0, 5.0]])
    logits, classes = prototype_logits(support, torch.tensor([4, 4, 2]), torch.tensor([[1.0, 1.0]]))
    assert classes.tolist() == [2, 4]
    assert logits.tolist() == [[-32.0, -1.0]]
    loss = prototypes(
        torch.cat([support, torch.tensor([[1.0, 1.0]])]),
        torch.tensor([4, 4, 2, 4]),
        torch.tensor([True, True, True, False]),
    )
    torch.testing.assert_close(loss, -torch.tensor([-32.0, -1.0]).log_softmax(0)[1])


def test_episodes_have_distinct_rows_of_their_classes_and_are_keyed() -> None:
    drawn = draw_episodes(ROWS, LABELS, 3, 2, 3, 20, 0, 5)
    assert drawn.shape == (20, 15)
    for episode in drawn:
        assert len(set(episode)) == 15
        supports, queries = LABELS[episode[:6] - 100].reshape(3, 2), LABELS[episode[6:] - 100].reshape(3, 3)
        assert (supports == supports[:, :1]).all()
        assert (queries == supports[:, :1]).all()
        assert len(set(supports[:, 0])) == 3
    assert (draw_episodes(ROWS, LABELS, 3, 2, 3, 20, 0, 5) == drawn).all()
    assert (draw_episodes(ROWS, LABELS, 3, 2, 3, 20, 0, 6) != drawn).any()
    with pytest.raises(ConfigError, match=r"episodes of 11 classes with 2 \+ 3 segments each: only 10 of 10"):
        draw_episodes(ROWS, LABELS, 11, 2, 3, 1, 0, 0)


def test_supports_and_queries_see_a_set_each() -> None:
    present = np.ones((10, 3), bool)
    present[3] = [True, False, False]
    seen = set()
    for episode in range(800):
        keep = episode_masks(present, 4, 0, 0, episode)
        assert not (keep & ~present).any()
        assert keep.any(axis=1).all()
        assert (keep[:3] == keep[0]).all()
        assert (keep[4:] == keep[4]).all()
        seen.add((tuple(keep[0]), tuple(keep[4])))
    assert len(seen) == 49


def test_zero_shot_learns_labels_from_the_chosen_modalities_alone(store_copy: Path, tmp_path: Path) -> None:
    """In the second half of the run the projector of rgb stands still."""
    options = {**QUICK, "store": store_copy, "align_share": 0.5, "train_modalities": ["audio", "imu"]}
    trained = train("mmg", {**options, "out": tmp_path / "run", "align": 1.0, "weight_decay": 0.0})
    lines = metrics(trained.path)
    assert ["ce" in line for line in lines] == [False, False, True, True]
    assert "rgb" in trained.result["subsets"]


def test_zero_shot_picks_its_epoch_without_labels_of_what_it_never_saw(store_copy: Path, tmp_path: Path) -> None:
    """The accuracy that picks the epoch is that of audio, IMU and both."""
    options = {**QUICK, "store": store_copy, "train_modalities": ["audio", "imu"], "epochs": 1, "seed": 1, "align": 0.0}
    trained = train("mmg", {**options, "out": tmp_path / "run"})
    store, model = FeatureStore.open(store_copy), Model.load(trained.path)
    _, held = split_validation(store, store.rows("train"), 0.1, 1)
    correct = correctness(score(model, store, held, 6), "verb")
    expected = np.mean([accuracy(correct[name]) for name in ("audio", "imu", "audio+imu")])
    assert metrics(trained.path)[0]["validation"]["verb"] == pytest.approx(expected, abs=1e-4)
    assert len(correct) == 7


def test_zero_shot_aligns_first_and_then_learns_labels_by_cross_entropy_alone(
    small_model: Callable, small_trainee: Callable, random_batch
) -> None:
    """The slides' table: L_align without labels, then L_CE; only the regular setting adds both up."""
    model = small_model("mmg")
    kept = np.ones((7, 3), bool)
    options = {"train_modalities": ["audio", "imu"], "align_share": 0.5, "epochs": 4}
    zero_shot = small_trainee("mmg", model, **options)
    for epoch, part in ((0, "align"), (1, "align"), (2, "ce"), (3, "ce")):
        losses = zero_shot.losses(random_batch.batch(), kept, epoch)
        assert set(losses) == {"loss", part}
        torch.testing.assert_close(losses["loss"], losses[part])
    assert set(small_trainee("mmg", model).losses(random_batch.batch(), kept, 1)) == {"loss", "align", "ce"}


@pytest.mark.parametrize("strategy", ["mmg", "actionmae", "compass", "macjepa", "shaspec"])
def test_labelled_epochs_never_see_what_labels_are_not_learned_from(
    strategy: str, store_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is there of rgb, no loss of theirs reads it: alignment, targets, slow copies and teachers' sight."""
    seen: list[tuple[bool, bool]] = []
    parts = Trainee.parts

    def spy(self: Trainee, sample: Any, epoch: int, autocast: bool = False) -> Any:
        rgb = self.model.spec.names.index("rgb")
        aligns = self.strategy.phase(self.strategy.options, epoch).unlabelled
        seen.append((aligns, bool((sample.present | sample.kept)[:, rgb].any())))
        return parts(self, sample, epoch, autocast)

    monkeypatch.setattr(Trainee, "parts", spy)
    own = {"align_share": 0.5} if strategy == "mmg" else {}
    quick = {name: value for name, value in QUICK.items() if strategy != "compass" or name != "depth"}
    options = {**quick, **own, "epochs": 2, "store": store_copy, "train_modalities": ["audio", "imu"]}
    train(strategy, {**options, "out": tmp_path / "run"})
    assert seen
    for aligns, has_rgb in seen:
        assert aligns or not has_rgb
    assert any(has_rgb for aligns, has_rgb in seen if aligns) == (strategy == "mmg")


def test_alignment_without_epochs_of_its_own_is_refused_where_it_could_reach_nothing(
    store_copy: Path, tmp_path: Path
) -> None:
    options = {**QUICK, "store": store_copy, "out": tmp_path / "run", "train_modalities": ["audio", "imu"]}
    with pytest.raises(ConfigError, match=r"nothing there to align with rgb: give --set align_share=0\.5"):
        train("mmg", options)
    with pytest.raises(ConfigError, match="align_share needs an epoch to align in and one to learn labels in"):
        train("mmg", {**options, "align_share": 0.5, "epochs": 1})
    assert train("mmg", {**options, "epochs": 1, "anchor": "audio"}).result["n"] == 10


@pytest.mark.parametrize("modalities", [["audio"], ["imu", "rgb"]])
def test_what_labels_are_not_learned_from_is_not_predicted_from_in_training(
    modalities: list[str], store_copy: Path, tmp_path: Path
) -> None:
    options = {**QUICK, "store": store_copy, "train_modalities": modalities, "align": 0.0, "weight_decay": 0.0}
    one = train("mmg", {**options, "out": tmp_path / "one", "epochs": 1})
    two = train("mmg", {**options, "out": tmp_path / "two", "epochs": 3})
    before, after = (load_file(run.path / "model.safetensors") for run in (one, two))
    for m, name in enumerate(["audio", "imu", "rgb"]):
        same = torch.equal(before[f"projectors.{m}.weight"], after[f"projectors.{m}.weight"])
        assert same == (name not in modalities)


def test_few_shot_ends_in_episodes(store_copy: Path, tmp_path: Path) -> None:
    options = {**QUICK, "store": store_copy, "prototypes": 1.0, "meta_share": 0.5, "ways": 2, "shots": 2, "queries": 1}
    trained = train("mmg", {**options, "out": tmp_path / "run"})
    assert ["ce" in line for line in metrics(trained.path)] == [True, True, False, False]
    other = train("mmg", {**options, "out": tmp_path / "two", "queries": 2})
    weights = [(run.path / "model.safetensors").read_bytes() for run in (trained, other)]
    assert weights[0] != weights[1]  # what the episodes taught is in the model that is kept
    with pytest.raises(ConfigError, match="episodes of 5 classes with 50"):
        train("mmg", {**options, "ways": 5, "shots": 50, "out": tmp_path / "other"})


@pytest.mark.parametrize(("anchor", "column"), [(None, 2), ("imu", 1)])
def test_the_anchor_is_video_unless_another_is_named(
    anchor: str | None, column: int, small_model: Callable, small_trainee: Callable, random_batch
) -> None:
    model, own = small_model("mmg"), {} if anchor is None else {"anchor": anchor}
    losses = small_trainee("mmg", model, **own).losses(random_batch.batch(), random_batch.present.numpy(), 0)
    means = model.encode(random_batch.tokens, None, random_batch.present).means()
    torch.testing.assert_close(losses["align"], align(means, random_batch.present, column, 0.07))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"anchor": "vidoe"}, "unknown modality in anchor 'vidoe'"),
        ({"train_modalities": ["sound"]}, "unknown modality in train_modalities 'sound'"),
        ({"modalities": ["rgb"]}, "the loss align is between modalities, and this run has one, rgb"),
        ({"few_shot_task": "colour"}, "unknown few_shot_task 'colour'"),
    ],
)
def test_what_does_not_fit_the_store_is_said(options: dict, message: str, epic_store: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        train("mmg", {**QUICK, "store": epic_store, "out": tmp_path / "run", **options})
    assert message in str(caught.value)
