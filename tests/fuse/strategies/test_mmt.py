"""The invariants of MMT's missing-modality token (methods.md 3.1)."""

from collections.abc import Callable

import pytest
import torch

from mmcache.fuse.network.model import Model
from mmcache.fuse.options.resolve import resolve_options
from mmcache.fuse.parts.losses.cross_entropy import cross_entropy
from mmcache.store import ConfigError

FUSIONS = [{}, {"fusion": "mbt", "fusion_layer": 0}]


def gradients(model: Model, tokens: dict[str, torch.Tensor], kept: torch.Tensor, labels: dict) -> list[torch.Tensor]:
    model.zero_grad(set_to_none=True)
    outputs = model.outputs(tokens, None, kept)
    cross_entropy(outputs, labels, smoothing=0.1, each=model.head.each).backward()
    return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in model.parameters()]


@pytest.mark.holds("mmt", "3.1 with delta = 1 output and gradients but those of e_m are those of plain fusion, bitwise")
@pytest.mark.parametrize("fusion", FUSIONS)
def test_complete_segments_are_plain_fusion_to_the_bit(fusion: dict, small_model: Callable, random_batch) -> None:
    """delta = 1: output and every gradient but that of e_m are those of the same network without it."""
    everything = torch.ones_like(random_batch.present)
    mmt, plain = small_model("mmt", **fusion), small_model("mmt", handler="skip", **fusion)
    plain.load_state_dict({n: v for n, v in mmt.state_dict().items() if not n.startswith("handler.")})
    for task, expected in plain(random_batch.tokens, everything).items():
        assert torch.equal(mmt(random_batch.tokens, everything)[task], expected)
    names = [name for name, _ in mmt.named_parameters()]
    every = gradients(mmt, random_batch.tokens, everything, random_batch.labels)
    found = [g for name, g in zip(names, every, strict=True) if not name.startswith("handler.")]
    expected_gradients = gradients(plain, random_batch.tokens, everything, random_batch.labels)
    for one, other in zip(found, expected_gradients, strict=True):
        assert torch.equal(one, other)


@pytest.mark.holds("mmt", "3.1 the gradient of e_m is 0 for a batch that lacks nothing")
@pytest.mark.parametrize("fusion", FUSIONS)
def test_mmt_token_is_untouched_by_complete_segments(fusion: dict, small_model: Callable, random_batch) -> None:
    model = small_model("mmt", **fusion)
    everything = torch.ones_like(random_batch.present)
    gradients(model, random_batch.tokens, everything, random_batch.labels)
    for token in model.handler.missing:
        assert token.grad is None or not token.grad.any()
    gradients(model, random_batch.tokens, random_batch.present, random_batch.labels)
    assert all(token.grad is not None and token.grad.any() for token in model.handler.missing)


@pytest.mark.holds("zeros", "mmt", "3.1 with an unbiased projector zeros are MMT with e_m = 0")
@pytest.mark.parametrize("fusion", FUSIONS)
def test_zeros_with_an_unbiased_projector_are_mmt_with_zero_tokens(
    fusion: dict, small_model: Callable, random_batch
) -> None:
    zeros = small_model("mmt", handler="zeros", **fusion)
    mmt = small_model("mmt", **fusion)
    mmt.load_state_dict(zeros.state_dict(), strict=False)
    with torch.no_grad():
        for model in (zeros, mmt):
            for projector in model.projectors:
                projector.bias.zero_()
        for token in mmt.handler.missing:
            token.zero_()
    for task, expected in zeros(random_batch.tokens, random_batch.present).items():
        torch.testing.assert_close(expected, mmt(random_batch.tokens, random_batch.present)[task])


def test_a_share_of_the_tokens_is_replaced_in_training_alone(small_model: Callable, random_batch) -> None:
    """The second mode of the code: each share of the list as often, rounded, in every modality by itself."""
    model = small_model("mmt", replace_shares=[0.0, 0.0, 0.25, 1.0])
    handler, many = model.handler.train(), 4000
    x, mask = torch.ones(many, 7, 16), torch.ones(many, 7, dtype=torch.bool)
    mask[:, 6] = False  # shorter by one
    kept = torch.ones(many, 3, dtype=torch.bool)
    parts, masks = [x] * 3, [mask] * 3
    torch.manual_seed(0)
    filled = handler(parts, masks, kept)
    replaced = (filled.tokens[0] != 1).any(dim=-1)
    assert not replaced[:, 6].any()
    counts = replaced.sum(dim=1).bincount(minlength=7) / many
    assert counts.tolist() == pytest.approx([0.5, 0, 0.25, 0, 0, 0, 0.25], abs=0.03)  # 0.25 of 6, rounded, is 2
    assert torch.equal(filled.tokens[0][replaced][0], handler.missing[0])
    assert torch.equal(filled.masks[0], mask)
    places = replaced[replaced.sum(dim=1) == 2].float().mean(dim=0)[:6]
    assert places.tolist() == pytest.approx([1 / 3] * 6, abs=0.05)
    assert torch.equal(handler.eval()(parts, masks, kept).tokens[0], x)


def test_frozen_tokens_stay_as_they_are(small_model: Callable, random_batch) -> None:
    model = small_model("mmt", freeze_tokens=True)
    gradients(model, random_batch.tokens, random_batch.present, random_batch.labels)
    assert all(token.grad is None for token in model.handler.missing)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            {"handler": "skip", "freeze_tokens": True},
            "no option freeze_tokens. It belongs to the handler token",
        ),
        (
            {"handler": "zeros", "replace_shares": [0.5]},
            "no option replace_shares. It belongs to the handler token",
        ),
        ({"target": "rgb", "replace_shares": [0.5]}, "leave out --target"),
        ({"replace_shares": [1.5]}, "replace_shares"),
    ],
)
def test_what_does_not_go_with_it_is_refused(options: dict, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        resolve_options("mmt", {"test": options})
