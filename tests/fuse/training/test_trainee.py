"""How the terms of the loss are weighted and added up."""

from collections.abc import Callable

import pytest
import torch

from mmcache.fuse.training.trainee import Trainee

WEIGHTED = [
    ("actionmae", "reconstruction"),
    ("compass", "vicreg"),
    ("mmg", "align"),
    ("shaspec", "shared"),
    ("shaspec", "specific"),
    ("mmanet", "mad"),
    ("macjepa", "jepa"),
]


@pytest.mark.parametrize(("strategy", "loss"), WEIGHTED)
def test_a_weight_is_what_the_term_counts(
    strategy: str, loss: str, small_model: Callable, small_trainee: Callable, random_batch
) -> None:
    model, kept = small_model(strategy), random_batch.present.clone()
    kept[-1, 1] = False
    found = {}
    for weight in (0.0, 0.5, 2.0):
        trainee: Trainee = small_trainee(strategy, model, **{loss: weight})
        found[weight] = trainee.losses(random_batch.batch(), kept.numpy(), 1)
    assert loss not in found[0.0]
    assert found[0.5][loss] > 0
    assert torch.equal(found[0.5][loss], found[2.0][loss])
    for weight in (0.5, 2.0):
        torch.testing.assert_close(found[weight]["loss"], found[0.0]["loss"] + weight * found[weight][loss])


@pytest.mark.holds("karmma", "3.2 with a = 1 the loss is CE, and no teacher is called")
@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_alpha_shares_out_between_labels_and_teacher(
    alpha: float, small_model: Callable, small_trainee: Callable, random_batch
) -> None:
    model = small_model("karmma")
    parts = small_trainee("karmma", model, alpha=alpha).losses(random_batch.batch(), random_batch.present.numpy(), 0)
    if alpha == 1.0:
        assert set(parts) == {"loss"}
    else:
        torch.testing.assert_close(parts["loss"], alpha * parts["ce"] + (1 - alpha) * parts["kd"])


def test_the_teacher_is_asked_for_the_mask_or_for_everything(
    small_model: Callable, small_trainee: Callable, random_batch
) -> None:
    """With everything kept the two are one; with less they are not."""
    model, present = small_model("karmma"), random_batch.present
    trainees = [small_trainee("karmma", model, teacher_mask=mask) for mask in ("same", "full")]
    same, full = (each.losses(random_batch.batch(), present.numpy(), 0)["kd"] for each in trainees)
    assert torch.equal(same, full)
    fewer = present.clone()
    fewer[-1, 0] = False
    same, full = (each.losses(random_batch.batch(), fewer.numpy(), 0)["kd"] for each in trainees)
    assert not torch.equal(same, full)


def test_what_only_training_needs_is_no_part_of_the_model(small_model: Callable, small_trainee: Callable) -> None:
    for strategy, own in (("macjepa", "jepa."), ("mmanet", "weak."), ("mmg", None), ("zeros", None)):
        model = small_model(strategy)
        names = {name for name, _ in small_trainee(strategy, model).strategy.named_parameters()}
        assert all(name.startswith(own or "") for name in names)
        assert bool(names) == (own is not None)
        assert not any(name.startswith(("jepa", "weak")) for name in model.state_dict())
