"""The invariants of MiDl's step (methods.md 3.6)."""

from collections.abc import Callable

import pytest
import torch

from mmcache.fuse.parts.test_time import Seen
from mmcache.fuse.parts.test_time.midl import divergence, mutual_information
from mmcache.fuse.runs.spec import ModelSpec


@pytest.mark.holds("midl", "3.6 MI >= 0, and 0 only where all views agree")
def test_information_is_positive_and_zero_only_where_all_views_agree() -> None:
    views = torch.randn(50, 3, 6, generator=torch.Generator().manual_seed(0)).log_softmax(dim=-1)
    assert (mutual_information(views) > 1e-3).all()
    agreeing = views[:, :1].expand(-1, 3, -1)
    assert mutual_information(agreeing).abs().max() < 1e-6


@pytest.mark.holds("midl", "3.6 KL and its gradient are 0 at theta_0")
def test_at_the_start_the_divergence_is_zero_and_so_is_its_gradient() -> None:
    logits = torch.randn(5, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = divergence(logits.detach().log_softmax(dim=-1), logits.log_softmax(dim=-1)).sum()
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-6


def test_with_the_epsilon_of_the_code_logarithms_are_of_a_little_more() -> None:
    logits = torch.randn(5, 3, 6, generator=torch.Generator().manual_seed(0))
    log_p, p = logits.log_softmax(dim=-1), logits.softmax(dim=-1)
    mean = p.mean(dim=1)
    expected = -(mean * (mean + 0.1).log()).sum(-1) + (p * (p + 0.1).log()).sum(-1).mean(dim=1)
    torch.testing.assert_close(mutual_information(log_p, 0.1), expected)
    apart = (p[:, 0] * ((p[:, 0] + 0.1) / (p[:, 1] + 0.1)).log()).sum(-1)
    torch.testing.assert_close(divergence(log_p[:, 0], log_p[:, 1], 0.1), apart)


def test_steps_make_views_agree(small_model: Callable, adapter: Callable, random_batch) -> None:
    everything = torch.ones_like(random_batch.present)
    adapting = adapter(small_model("midl"), adapt_lr=0.1, midl_distance=0.0)

    def disagreement() -> float:
        views = []
        for m in range(-1, 3):
            keep = everything.clone()
            if m >= 0:
                keep[:, m] = False
            views.append(adapting.model(random_batch.tokens, everything, keep)["verb"].log_softmax(dim=-1))
        return float(mutual_information(torch.stack(views, dim=1)).mean().detach())

    before = disagreement()
    adapting.adapt([Seen(random_batch.tokens, everything)] * 30)
    assert disagreement() < 0.8 * before


@pytest.mark.holds("midl", "3.6 with r_test = 100 % or lr = 0 nothing adapts")
@pytest.mark.parametrize("mode", ["stream", "two_phase"])
def test_it_is_no_adaptation_without_complete_segments(
    mode: str, small_model: Callable, adapter: Callable, stream, plain, same, random_batch
) -> None:
    model = small_model("midl")
    all_incomplete = random_batch.present.clone()
    all_incomplete[-1, 0] = False
    batches = stream(random_batch, all_incomplete)
    assert same(adapter(model, adapt_mode=mode).predict(batches), plain(model, batches))


def test_one_modality_has_no_views_to_compare(
    small_model: Callable, adapter: Callable, stream, plain, same, spec: ModelSpec, random_batch
) -> None:
    model = small_model("midl", ModelSpec({"rgb": spec.modalities["rgb"]}, spec.tasks))
    batches = stream(random_batch, torch.ones(7, 1, dtype=torch.bool))
    assert same(adapter(model).predict(batches), plain(model, batches))
