"""Folded operations are those of torch, a variant at a time."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

from mmcache.fuse.packing.folding import folded
from mmcache.fuse.parts.fusions.transformer import Block
from mmcache.fuse.parts.part import Shape

VARIANTS = 3


def generators() -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in range(VARIANTS)]


def fold(function: Callable, *arguments: torch.Tensor, dims: int | tuple = 0) -> torch.Tensor:
    with folded(generators()):
        return torch.func.vmap(function, in_dims=dims, randomness="error")(*arguments)


def alone(function: Callable, *arguments: torch.Tensor) -> torch.Tensor:
    out = []
    for i, each in enumerate(zip(*arguments, strict=True)):
        torch.manual_seed(i)
        out.append(function(*each))
    return torch.stack(out)


@pytest.mark.parametrize("shape", [(5, 4), (2, 5, 4), (4,)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_and_its_gradients(shape: tuple[int, ...], bias: bool) -> None:
    x, w = torch.randn(VARIANTS, *shape), torch.randn(VARIANTS, 6, 4)
    b = torch.randn(VARIANTS, 6)
    found = []
    for run in (fold, alone):
        leaves = [t.clone().requires_grad_() for t in (x, w, b)]
        out = run(lambda x, w, b: functional.linear(x, w, b if bias else None), *leaves)
        out.square().sum().backward()
        found.append([out, *(leaf.grad for leaf in leaves if leaf.grad is not None)])
    assert len(found[0]) == len(found[1]) == (4 if bias else 3)
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)


def test_a_linear_layer_on_what_all_variants_share() -> None:
    x, w, b = torch.randn(2, 5, 4), torch.randn(VARIANTS, 6, 4), torch.randn(VARIANTS, 6)
    out = fold(functional.linear, x, w, b, dims=(None, 0, 0))
    torch.testing.assert_close(out, torch.stack([functional.linear(x, w[i], b[i]) for i in range(VARIANTS)]))


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("pairs", [False, True], ids=["mask of places", "mask of pairs"])
def test_a_block_of_attention_draws_and_computes_as_alone(dropout: float, pairs: bool) -> None:
    torch.manual_seed(7)
    shape = Shape((5,), 8, heads=2, hidden=16, dropout=dropout, attention_dropout=dropout)
    blocks = [Block(shape).train() for _ in range(VARIANTS)]
    weights = {n: torch.stack([dict(b.named_parameters())[n] for b in blocks]) for n, _ in blocks[0].named_parameters()}
    x, mask = torch.randn(VARIANTS, 4, 5, 8), torch.rand(VARIANTS, 4, 5) < 0.7
    mask[..., 0] = True
    if pairs:
        mask = mask[..., None, :].expand(-1, -1, 5, -1)
    out = fold(lambda w, x, m: torch.func.functional_call(blocks[0], w, (x, m)), weights, x, mask)
    for i, block in enumerate(blocks):
        torch.manual_seed(i)
        torch.testing.assert_close(out[i], block(x[i], mask[i]))


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_torchs_own_encoder_draws_and_computes_as_alone(dropout: float) -> None:
    torch.manual_seed(7)
    layers = [nn.TransformerEncoderLayer(8, 2, 16, dropout, batch_first=True).train() for _ in range(VARIANTS)]
    weights = {n: torch.stack([dict(b.named_parameters())[n] for b in layers]) for n, _ in layers[0].named_parameters()}
    x, padding = torch.randn(VARIANTS, 4, 5, 8), torch.rand(VARIANTS, 4, 5) < 0.3
    padding[..., 0] = False
    call = lambda w, x, p: torch.func.functional_call(layers[0], w, (x,), {"src_key_padding_mask": p})  # noqa: E731
    out = fold(call, weights, x, padding)
    for i, layer in enumerate(layers):
        torch.manual_seed(i)
        torch.testing.assert_close(out[i], layer(x[i], src_key_padding_mask=padding[i]))


def test_random_numbers_are_each_variants_own() -> None:
    x = torch.zeros(VARIANTS, 6)
    out = fold(torch.rand_like, x)
    torch.testing.assert_close(out, alone(torch.rand_like, x))
    assert len(out.unique(dim=0)) == VARIANTS


def test_outside_nothing_is_folded() -> None:
    layer, x = nn.Linear(4, 3), torch.randn(2, 4)
    before = layer(x)
    with folded(generators()):
        pass
    assert torch.equal(layer(x), before)
