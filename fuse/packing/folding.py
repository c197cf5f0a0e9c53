"""Operations of many variants at once: what `torch.func.vmap` would run slowly, or differently, folded by hand.

`vmap` runs the model's own code for all variants in one pass. Left to itself it copies a weight for every segment of
a batch, leaves the fast attention, and draws one set of random numbers for all. `Folded` takes these few operations
over: a linear layer becomes one batched product, attention has the variants in its batch dimension, and every variant
draws from a generator of its own, in the order in which it would draw alone.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

Dims = tuple[int | None, ...]
_generators: contextvars.ContextVar[Sequence[torch.Generator]] = contextvars.ContextVar("generators")


@contextlib.contextmanager
def folded(generators: Sequence[torch.Generator]) -> Iterator[None]:
    """Within, vmap over variants runs folded.

    Args:
        generators: one a variant, for dropout.
    """
    token = _generators.set(generators)
    try:
        with Folded():
            yield
    finally:
        _generators.reset(token)


class Folded(TorchFunctionMode):
    """Puts the functions of this file in the place of torch's."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _INSTEAD.get(func, func)(*args, **(kwargs or {}))


class _Vmapped(torch.autograd.Function):
    """A function that only vmap calls, with all variants at once; autograd records what that does."""

    generate_vmap_rule = False

    @staticmethod
    def forward(*args: Any) -> Any:
        raise AssertionError("folded functions are for vmap alone")

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        raise AssertionError("folded functions are for vmap alone")


def _variants_first(tensor: torch.Tensor, dim: int | None, variants: int) -> torch.Tensor:
    """(V, ...), expanded where all variants share the tensor."""
    return tensor.expand(variants, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


class _Linear(_Vmapped):
    """x (..., i) by weight (o, i): one batched product, or one plain product where all variants share x."""

    @staticmethod
    def vmap(info: Any, in_dims: Dims, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> Any:
        variants = info.batch_size
        weight = _variants_first(weight, in_dims[1], variants)
        offset = None if bias is None else _variants_first(bias, in_dims[2], variants)
        if in_dims[0] is None:
            wide = functional.linear(
                x, weight.reshape(-1, weight.shape[-1]), None if offset is None else offset.ravel()
            )
            return wide.unflatten(-1, (variants, -1)), x.ndim - 1
        x = x.movedim(in_dims[0], 0)
        rows, columns = x.reshape(variants, -1, x.shape[-1]), weight.transpose(1, 2)
        out = torch.bmm(rows, columns) if offset is None else torch.baddbmm(offset[:, None], rows, columns)
        return out.view(*x.shape[:-1], -1), 0


class _Attention(_Vmapped):
    """q, k, v (B, H, N, d) and a mask: variants are folded into B."""

    @staticmethod
    def vmap(
        info: Any,
        in_dims: Dims,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        mask: torch.Tensor | None,
        dropout: float,
    ) -> Any:
        variants = info.batch_size
        q, k, v = (_variants_first(x, dim, variants) for x, dim in zip((q, k, v), in_dims, strict=False))
        if mask is not None:
            mask = _variants_first(mask, in_dims[3], variants)
        if dropout > 0:
            return _weighted(q, k, v, mask, dropout), 0
        q, k, v = q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1)
        out = functional.scaled_dot_product_attention(q, k, v, None if mask is None else mask.flatten(0, 1))
        return out.unflatten(0, (variants, -1)), 0


def _weighted(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None, dropout: float
) -> torch.Tensor:
    """Attention whose weights are thinned out: (V, B, H, N, d) each, written out as torch does on a CPU."""
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    return _thinned(scores.softmax(dim=-1), dropout) @ v


class _Dropout(_Vmapped):
    @staticmethod
    def vmap(info: Any, in_dims: Dims, x: torch.Tensor, p: float) -> Any:
        return _thinned(_variants_first(x, in_dims[0], info.batch_size), p), 0


def _thinned(x: torch.Tensor, p: float) -> torch.Tensor:
    """Dropout of x (V, ...), each variant by its own generator."""
    keep = [torch.empty_like(part).bernoulli_(1 - p, generator=g) for part, g in zip(x, _generators.get(), strict=True)]
    return x * (torch.stack(keep) / (1 - p))


class _Uniform(_Vmapped):
    """Uniform numbers of a shape, different ones for each variant; `like` is anything that vmap goes over."""

    @staticmethod
    def vmap(info: Any, in_dims: Dims, like: torch.Tensor, shape: tuple[int, ...]) -> Any:
        return torch.stack([torch.rand(shape, device=like.device, generator=g) for g in _generators.get()]), 0


def _linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> Any:
    return _Linear.apply(x, weight, bias)


def _attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
) -> Any:
    return _Attention.apply(q, k, v, attn_mask, dropout_p)


def _dropout(x: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    return _Dropout.apply(x, p) if training and p > 0 else x


def _rand_like(x: torch.Tensor, **options: Any) -> Any:
    return _Uniform.apply(x, x.shape)


def _multi_head(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: torch.Tensor,
    in_proj_bias: torch.Tensor,
    bias_k: None,
    bias_v: None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: torch.Tensor,
    out_proj_bias: torch.Tensor,
    training: bool = True,
    key_padding_mask: torch.Tensor | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Self-attention of torch's own layers: query (N, B, d), the padding true or -inf."""
    length, batch, width = query.shape
    q, k, v = (
        part.reshape(length, batch, num_heads, -1).permute(1, 2, 0, 3)
        for part in _linear(query, in_proj_weight, in_proj_bias).chunk(3, dim=-1)
    )
    mask = None
    if key_padding_mask is not None:
        unseen = key_padding_mask if key_padding_mask.dtype == torch.bool else key_padding_mask != 0
        mask = ~unseen[:, None, None, :]
    out = _attention(q, k, v, mask, dropout_p if training else 0.0)
    return _linear(out.permute(2, 0, 1, 3).reshape(length, batch, width), out_proj_weight, out_proj_bias), None


_INSTEAD: dict[Callable[..., Any], Callable[..., Any]] = {
    functional.linear: _linear,
    functional.scaled_dot_product_attention: _attention,
    functional.dropout: _dropout,
    functional.multi_head_attention_forward: _multi_head,
    torch.rand_like: _rand_like,
}
