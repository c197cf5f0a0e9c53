"""The transformer's block in bfloat16 on a CPU: its products are rounded, its attention is not."""

import pytest
import torch
from torch.nn import functional

from mmcache.fuse.parts.fusions.transformer import Block
from mmcache.fuse.parts.part import Shape

MASK = torch.rand(4, 9, generator=torch.Generator().manual_seed(1)) < 0.7
MASK[:, 0] = True


def results(autocast: bool) -> list[torch.Tensor]:
    """Output and gradients of a block."""
    torch.manual_seed(0)
    block, x = (
        Block(Shape((9,), 16, heads=4, hidden=64, dropout=0.0, attention_dropout=0.0)),
        torch.randn(4, 9, 16, requires_grad=True),
    )
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out = block(x, MASK)
    out.float().square().mean().backward()
    assert x.grad is not None
    return [out.float(), x.grad, *(p.grad for p in block.parameters() if p.grad is not None)]


def test_bfloat16_differs_from_float32_by_rounding() -> None:
    for rounded, exact in zip(results(True), results(False), strict=True):
        scale = float(exact.detach().abs().max())
        torch.testing.assert_close(rounded, exact, atol=0.03 * scale, rtol=0)
        assert not torch.equal(rounded, exact)


def test_attention_on_a_cpu_is_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, attention = [], functional.scaled_dot_product_attention

    def watched(q: torch.Tensor, *arguments: torch.Tensor, **options: object) -> torch.Tensor:
        seen.append((q.dtype, torch.is_autocast_enabled("cpu")))
        return attention(q, *arguments, **options)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", watched)
    results(autocast=True)
    assert seen == [(torch.float32, False)]
