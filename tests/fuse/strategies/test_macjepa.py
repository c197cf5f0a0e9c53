"""The invariants of MacJEPA (methods.md 3.15)."""

from collections.abc import Callable

import pytest
import torch

from mmcache.fuse.network.model import Model
from mmcache.fuse.parts.fusions import Fused
from mmcache.fuse.parts.losses.jepa import Jepa


@pytest.mark.holds("macjepa", "3.15 without its losses and masks it is plain fusion")
def test_without_its_losses_it_is_plain_fusion(small_model: Callable, small_trainee: Callable, random_batch) -> None:
    model = small_model("macjepa", jepa=0.0, vicreg=0.0)
    everything = torch.ones_like(random_batch.present)
    batch = random_batch.batch(present=everything)
    parts = small_trainee("macjepa", model, jepa=0.0, vicreg=0.0).losses(batch, everything.numpy(), 0)
    assert set(parts) == {"loss"}
    plain = small_model("macjepa", handler="skip", jepa=0.0, vicreg=0.0)
    plain.load_state_dict({n: v for n, v in model.state_dict().items() if not n.startswith("handler.")})
    other = small_trainee("macjepa", plain, handler="skip", jepa=0.0, vicreg=0.0)
    assert torch.equal(other.losses(batch, everything.numpy(), 0)["loss"], parts["loss"])


def fused(model: Model, batch, seen: torch.Tensor) -> Fused:
    return model.fuse(model.handle(model.encode(batch.tokens, None, seen)))


@pytest.mark.holds("macjepa", "3.15 momentum 1 keeps the teacher")
@pytest.mark.parametrize(("momentum", "moves"), [(1.0, 0.0), (0.9, 0.1), (0.0, 1.0)])
def test_the_teacher_follows_at_its_own_pace(momentum: float, moves: float, small_model: Callable) -> None:
    model = small_model("macjepa")
    jepa = Jepa(model, 16, momentum)
    before = [p.clone() for p in jepa.teacher.parameters()]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    jepa.follow(model)
    for old, new in zip(before, jepa.teacher.parameters(), strict=True):
        torch.testing.assert_close(new, old + moves)
        assert not new.requires_grad


@pytest.mark.holds("macjepa", "3.15 another query leaves all other tokens as they are")
def test_nobody_reads_the_query(small_model: Callable, random_batch) -> None:
    """Another query leaves every token as it was, and changes itself."""
    model = small_model("macjepa")
    before = fused(model, random_batch, random_batch.present)
    with torch.no_grad():
        model.fusion.cls.add_(torch.randn_like(model.fusion.cls))
    after = fused(model, random_batch, random_batch.present)
    for one, other in zip(before.tokens, after.tokens, strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(before.cls, after.cls)


def test_the_teacher_sees_everything_and_gets_no_gradient(small_model: Callable, random_batch) -> None:
    model = small_model("macjepa")
    jepa, everything = Jepa(model, 16, 0.9), torch.ones_like(random_batch.present)
    lengths = {name: torch.full((7,), x.shape[1]) for name, x in random_batch.tokens.items()}
    clean = jepa.look(random_batch.tokens, lengths, everything)
    full = fused(model, random_batch, everything)
    assert torch.equal(clean.cls, full.cls)
    jepa(fused(model, random_batch, random_batch.present), clean, everything).backward()
    assert all(p.grad is None for p in jepa.teacher.parameters())
    assert all(p.grad is not None for p in jepa.predictor.parameters())


def test_a_perfect_predictor_loses_nothing(small_model: Callable, random_batch) -> None:
    model = small_model("macjepa")
    jepa = Jepa(model, 16, 0.9)
    jepa.predictor = torch.nn.Sequential(torch.nn.LayerNorm(16, elementwise_affine=False))
    out = fused(model, random_batch, random_batch.present)
    assert float(jepa(out, out, random_batch.present).detach()) < 1e-6


def test_training_mode_leaves_the_teacher_in_eval(small_model: Callable) -> None:
    jepa = Jepa(small_model("macjepa"), 16, 0.9).train()
    assert jepa.training
    assert not any(module.training for module in jepa.teacher.modules())
