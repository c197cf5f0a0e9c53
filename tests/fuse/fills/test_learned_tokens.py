"""The fills' own invariants: token (MMT), karmma, and the places that a fill occupies."""

from collections.abc import Callable

import torch

from mmcache.fuse.losses import cross_entropy
from mmcache.fuse.model import Model


def gradients(model: Model, tokens: dict[str, torch.Tensor], kept: torch.Tensor, labels: dict) -> list[torch.Tensor]:
    model.zero_grad(set_to_none=True)
    outputs = model.outputs(tokens, None, kept)
    cross_entropy(outputs, labels, smoothing=0.1, each=model.head.each).backward()
    return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in model.parameters()]


def test_mmt_token_is_untouched_by_complete_segments(small_model: Callable, random_batch) -> None:
    model = small_model("mmt")
    everything = torch.ones_like(random_batch.present)
    gradients(model, random_batch.tokens, everything, random_batch.labels)
    for token in model.fill.missing:
        assert token.grad is None or not token.grad.any()
    gradients(model, random_batch.tokens, random_batch.present, random_batch.labels)
    assert all(token.grad is not None and token.grad.any() for token in model.fill.missing)


def test_zeros_with_an_unbiased_projector_are_mmt_with_zero_tokens(small_model: Callable, random_batch) -> None:
    zeros = small_model("mmt", fill="zeros")
    mmt = small_model("mmt")
    mmt.load_state_dict(zeros.state_dict(), strict=False)
    with torch.no_grad():
        for model in (zeros, mmt):
            for projector in model.projectors:
                projector.bias.zero_()
        for token in mmt.fill.missing:
            token.zero_()
    for task, expected in zeros(random_batch.tokens, random_batch.present).items():
        torch.testing.assert_close(expected, mmt(random_batch.tokens, random_batch.present)[task])


def test_karmma_s_mode_missing_adds_nothing_to_what_is_there(small_model: Callable, random_batch) -> None:
    """With s only where missing, changing s changes segments that lack something, and no other."""
    model = small_model("karmma", s_mode="missing")
    before = model(random_batch.tokens, random_batch.present)
    with torch.no_grad():
        for token in model.fill.specific_tokens:
            token.add_(1.0)
    after = model(random_batch.tokens, random_batch.present)
    complete = random_batch.present.all(dim=1)
    for task in before:
        changed = (before[task] != after[task]).any(dim=1)
        assert torch.equal(changed, ~complete)


def test_karmma_keeps_the_number_of_tokens(small_model: Callable, random_batch) -> None:
    """A missing modality is fed as n_m tokens: every vector counts in the average, whatever is missing."""
    outputs = small_model("karmma").outputs(random_batch.tokens, None, random_batch.present)
    assert outputs.valid.all()
    assert outputs.valid.shape == (7, 1 + 3)
    skipped = small_model("karmma-teacher").outputs(random_batch.tokens, None, random_batch.present)
    assert torch.equal(skipped.valid[:, 1:], random_batch.present)
