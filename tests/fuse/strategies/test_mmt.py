"""The invariants of MMT's missing-modality token (methods.md 3.1)."""

from collections.abc import Callable

import pytest
import torch

from mmcache.fuse.losses import cross_entropy
from mmcache.fuse.model import Model

FUSIONS = [{}, {"fusion": "mbt", "fusion_layer": 0}]


def gradients(model: Model, tokens: dict[str, torch.Tensor], kept: torch.Tensor, labels: dict) -> list[torch.Tensor]:
    model.zero_grad(set_to_none=True)
    outputs = model.outputs(tokens, None, kept)
    cross_entropy(outputs, labels, smoothing=0.1, each=model.head.each).backward()
    return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in model.parameters()]


@pytest.mark.parametrize("fusion", FUSIONS)
def test_complete_segments_are_plain_fusion_to_the_bit(fusion: dict, small_model: Callable, random_batch) -> None:
    """delta = 1: output and every gradient but that of e_m are those of the same network without it."""
    everything = torch.ones_like(random_batch.present)
    mmt, plain = small_model("mmt", **fusion), small_model("mmt", fill="skip", **fusion)
    plain.load_state_dict({n: v for n, v in mmt.state_dict().items() if not n.startswith("fill.")})
    for task, expected in plain(random_batch.tokens, everything).items():
        assert torch.equal(mmt(random_batch.tokens, everything)[task], expected)
    names = [name for name, _ in mmt.named_parameters()]
    every = gradients(mmt, random_batch.tokens, everything, random_batch.labels)
    found = [g for name, g in zip(names, every, strict=True) if not name.startswith("fill.")]
    expected_gradients = gradients(plain, random_batch.tokens, everything, random_batch.labels)
    for one, other in zip(found, expected_gradients, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_mmt_token_is_untouched_by_complete_segments(fusion: dict, small_model: Callable, random_batch) -> None:
    model = small_model("mmt", **fusion)
    everything = torch.ones_like(random_batch.present)
    gradients(model, random_batch.tokens, everything, random_batch.labels)
    for token in model.fill.missing:
        assert token.grad is None or not token.grad.any()
    gradients(model, random_batch.tokens, random_batch.present, random_batch.labels)
    assert all(token.grad is not None and token.grad.any() for token in model.fill.missing)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_zeros_with_an_unbiased_projector_are_mmt_with_zero_tokens(
    fusion: dict, small_model: Callable, random_batch
) -> None:
    zeros = small_model("mmt", fill="zeros", **fusion)
    mmt = small_model("mmt", **fusion)
    mmt.load_state_dict(zeros.state_dict(), strict=False)
    with torch.no_grad():
        for model in (zeros, mmt):
            for projector in model.projectors:
                projector.bias.zero_()
        for token in mmt.fill.missing:
            token.zero_()
    for task, expected in zeros(random_batch.tokens, random_batch.present).items():
        torch.testing.assert_close(expected, mmt(random_batch.tokens, random_batch.present)[task])
