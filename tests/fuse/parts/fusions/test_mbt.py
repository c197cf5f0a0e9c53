"""The invariants of bottleneck fusion (methods.md section 2)."""

from collections.abc import Callable

import pytest
import torch

from mmcache.fuse.parts.fusions import Fusion
from mmcache.fuse.parts.part import Shape

DEPTH = 3
TOKENS = [torch.randn(2, n, 16, generator=torch.Generator().manual_seed(n)) for n in (5, 4, 7)]
MASKS = [torch.ones(2, n, dtype=torch.bool) for n in (5, 4, 7)]


def fusion(small_options: Callable, lengths: tuple[int, ...] = (5, 4, 7), **options) -> Fusion:
    """A bottleneck fusion of modalities with so many tokens."""
    torch.manual_seed(0)
    made = small_options("zeros", fusion="mbt", depth=DEPTH, **options)
    kind = made.components.fusion
    return kind(Shape.of(made.network, list(lengths), kind.reads), made.fusion).eval()


def cross_gradient(model: Fusion) -> torch.Tensor:
    """d (modality 0's tokens) / d (modality 1's input)."""
    tokens = [x.clone().requires_grad_() for x in TOKENS]
    model(tokens, MASKS).tokens[0].square().sum().backward()
    return torch.zeros_like(tokens[1]) if tokens[1].grad is None else tokens[1].grad


@pytest.mark.holds("shared", "2 L_f = L and L_f = L - 1 exchange nothing")
@pytest.mark.parametrize("layer", [DEPTH, DEPTH - 1])
def test_too_late_a_fusion_layer_exchanges_nothing(layer: int, small_options: Callable) -> None:
    """With L_f = L there is no exchange; with L_f = L - 1 the only fused layer sees the shared parameter alone."""
    assert not cross_gradient(fusion(small_options, fusion_layer=layer)).any()


@pytest.mark.holds("shared", "2 from L_f = L - 2 on modalities see each other")
@pytest.mark.parametrize("layer", [DEPTH - 2, 0, None])
def test_from_the_last_but_one_layer_modalities_see_each_other(layer: int | None, small_options: Callable) -> None:
    assert cross_gradient(fusion(small_options, fusion_layer=layer)).abs().max() > 1e-9


@pytest.mark.holds("shared", "2 B bottlenecks in, B bottlenecks out")
def test_bottlenecks_are_as_many_in_every_layer_and_gone_at_the_end(small_options: Callable) -> None:
    model = fusion(small_options, bottlenecks=2, fusion_layer=0)
    lengths = []
    for blocks in model.layers:
        blocks[1].register_forward_pre_hook(lambda _, inputs: lengths.append(inputs[0].shape[1]))
    out = model(TOKENS, MASKS)
    assert lengths == [4 + 2] * DEPTH
    assert out.cls is None
    assert [x.shape[1] for x in out.tokens] == [5, 4, 7]


def test_class_tokens_are_all_the_head_reads(small_options: Callable) -> None:
    out = fusion(small_options, class_tokens=True)(TOKENS, MASKS)
    assert [x.shape for x in out.tokens] == [(2, 1, 16)] * 3
    assert all(mask.all() for mask in out.masks)


@pytest.mark.holds("shared", "2 a missing modality is left out of the mean of bottlenecks")
def test_bottlenecks_average_over_what_is_there(small_options: Callable) -> None:
    """A row that lacks modality 1 is fused as by a model that never had it."""
    model = fusion(small_options, fusion_layer=0)
    without = [MASKS[0], torch.zeros_like(MASKS[1]), MASKS[2]]
    smaller = fusion(small_options, (5, 7), fusion_layer=0)
    state = {}
    for name, value in model.state_dict().items():
        part = name.split(".")
        if part[0] == "layers":
            if part[2] == "1":
                continue
            part[2] = {"0": "0", "2": "1"}[part[2]]
        state[".".join(part)] = value
    smaller.load_state_dict(state)
    got, expected = model(TOKENS, without), smaller([TOKENS[0], TOKENS[2]], [MASKS[0], MASKS[2]])
    torch.testing.assert_close(got.tokens[0], expected.tokens[0])
    torch.testing.assert_close(got.tokens[2], expected.tokens[1])


@pytest.mark.holds("shared", "2 the order of modalities does not matter")
@pytest.mark.parametrize("options", [{"head": "gap"}, {"head": "linear", "class_tokens": True}, {}])
@pytest.mark.parametrize("handler", ["skip", "token"])
def test_order_of_modalities_does_not_matter(handler: str, options: dict, check_any_order: Callable) -> None:
    check_any_order("zeros", fusion="mbt", fusion_layer=0, handler=handler, **options)
