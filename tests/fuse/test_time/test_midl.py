"""The invariants of adaptation at test time (methods.md 3.6)."""

import copy
from collections.abc import Callable

import pytest
import torch

from mmcache.fuse.model import ModelSpec
from mmcache.fuse.strategies import STRATEGIES
from mmcache.fuse.test_time.midl import Seen, _Stepper, adapt, divergence, layer_norms, mutual_information
from mmcache.store import ConfigError


def stream(batch, present: torch.Tensor, size: int = 2) -> list[Seen]:
    cuts = range(0, len(present), size)
    return [Seen({n: x[i : i + size] for n, x in batch.tokens.items()}, present[i : i + size]) for i in cuts]


def plain(model, batches: list[Seen]) -> list[dict]:
    with torch.no_grad():
        return [model(batch.tokens, batch.present) for batch in batches]


def same(one: list[dict], other: list[dict]) -> bool:
    return all(torch.equal(a[task], b[task]) for a, b in zip(one, other, strict=True) for task in a)


def test_information_is_positive_and_zero_only_where_all_views_agree() -> None:
    views = torch.randn(50, 3, 6, generator=torch.Generator().manual_seed(0)).log_softmax(dim=-1)
    assert (mutual_information(views) > 1e-3).all()
    agreeing = views[:, :1].expand(-1, 3, -1)
    assert mutual_information(agreeing).abs().max() < 1e-6


def test_at_the_start_the_divergence_is_zero_and_so_is_its_gradient() -> None:
    logits = torch.randn(5, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = divergence(logits.detach().log_softmax(dim=-1), logits.log_softmax(dim=-1)).sum()
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-6


@pytest.mark.parametrize("mode", ["stream", "two_phase"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_any_model_adapts_and_stays_as_it_is(
    strategy: str, mode: str, small_model: Callable, small_config: Callable, random_batch
) -> None:
    model = small_model(strategy)
    config = small_config("midl", midl_lr=0.05, midl_mode=mode)
    before = copy.deepcopy(model.state_dict())
    batches = stream(random_batch, torch.ones_like(random_batch.present))
    batches = [*batches, *stream(random_batch, random_batch.present)]
    predicted = adapt(model, batches, config)
    assert not same(predicted, plain(model, batches))
    assert same(predicted[:1], plain(model, batches[:1]))  # taken before the first step
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())


def test_only_layer_norms_move(small_model: Callable, small_config: Callable, random_batch) -> None:
    model = small_model("midl")
    stepper = _Stepper(model, small_config("midl", midl_lr=0.05))
    for batch in stream(random_batch, torch.ones_like(random_batch.present)):
        stepper.predict(batch, step=True)
    moved = {
        name
        for (name, old), new in zip(model.named_parameters(), stepper.model.parameters(), strict=True)
        if not torch.equal(old, new)
    }
    assert moved == {name for name, _ in model.named_parameters() if "norm" in name}
    assert len(layer_norms(model)) == len(moved)


def test_steps_make_views_agree(small_model: Callable, small_config: Callable, random_batch) -> None:
    model = small_model("midl")
    everything = torch.ones_like(random_batch.present)
    stepper = _Stepper(model, small_config("midl", midl_lr=0.1, midl_distance=0.0))

    def disagreement() -> float:
        views = []
        for m in range(-1, 3):
            keep = everything.clone()
            if m >= 0:
                keep[:, m] = False
            views.append(stepper.model(random_batch.tokens, everything, keep)["verb"].log_softmax(dim=-1))
        return float(mutual_information(torch.stack(views, dim=1)).mean().detach())

    before = disagreement()
    for _ in range(30):
        stepper.predict(Seen(random_batch.tokens, everything), step=True)
    assert disagreement() < 0.8 * before


@pytest.mark.parametrize("mode", ["stream", "two_phase"])
def test_it_is_no_adaptation_without_a_rate_or_without_complete_segments(
    mode: str, small_model: Callable, small_config: Callable, random_batch
) -> None:
    model = small_model("midl")
    all_incomplete = random_batch.present.clone()
    all_incomplete[-1, 0] = False
    for present, rate in ((all_incomplete, 0.05), (torch.ones_like(all_incomplete), 0.0)):
        batches = stream(random_batch, present)
        assert same(adapt(model, batches, small_config("midl", midl_lr=rate, midl_mode=mode)), plain(model, batches))


def test_in_two_phases_what_is_incomplete_waits_for_all_steps(
    small_model: Callable, small_config: Callable, random_batch
) -> None:
    """Whether incomplete segments come before or after the complete ones, the answer to them is the same."""
    model, config = small_model("midl"), small_config("midl", midl_lr=0.05, midl_mode="two_phase")
    complete = stream(random_batch, torch.ones_like(random_batch.present))
    incomplete = stream(random_batch, random_batch.present)[:2]
    early, late = adapt(model, [*incomplete, *complete], config), adapt(model, [*complete, *incomplete], config)
    assert same(early[:2], late[-2:])
    in_stream = small_config("midl", midl_lr=0.05)
    early, late = adapt(model, [*incomplete, *complete], in_stream), adapt(model, [*complete, *incomplete], in_stream)
    assert not same(early[:2], late[-2:])


def test_what_cannot_be_adapted_is_refused(small_model: Callable, small_config: Callable, random_batch) -> None:
    batches = stream(random_batch, random_batch.present)
    with pytest.raises(ConfigError, match="has none: train one with head_norm"):
        adapt(small_model("zeros", fusion="sum", head="linear"), batches, small_config("midl"))
    with pytest.raises(ConfigError, match="give a list, not a generator"):
        adapt(small_model("midl"), iter(batches), small_config("midl", midl_mode="two_phase"))


def test_one_modality_has_no_views_to_compare(
    small_model: Callable, small_config: Callable, spec: ModelSpec, random_batch
) -> None:
    model = small_model("midl", ModelSpec({"rgb": spec.modalities["rgb"]}, spec.tasks))
    batches = stream(random_batch, torch.ones(7, 1, dtype=torch.bool))
    assert same(adapt(model, batches, small_config("midl", midl_lr=0.05)), plain(model, batches))


def test_it_may_adapt_to_training_segments_first(small_model: Callable, small_config: Callable, random_batch) -> None:
    """As if they had come first in the stream."""
    model, config = small_model("midl"), small_config("midl", midl_lr=0.05)
    first = stream(random_batch, torch.ones_like(random_batch.present))
    then = stream(random_batch, random_batch.present)
    assert same(adapt(model, then, config, before=first), adapt(model, [*first, *then], config)[len(first) :])
