"""Transformer fusion: [CLS | tokens of every modality] through pre-norm blocks."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from mmcache.fuse.options.fields import option
from mmcache.fuse.parts.fusions.base import Fused, Fusion, Prompts
from mmcache.fuse.parts.part import Shape


class Block(nn.Module):
    """Pre-norm self-attention and MLP; masked places are never attended to."""

    READS = frozenset({"heads", "ffn_ratio", "dropout", "attention_dropout"})

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width, hidden, dropout = shape.width, shape.hidden, shape.dropout
        self.heads, self.attention_dropout = shape.heads, shape.attention_dropout
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor, mask: torch.Tensor, prompts: torch.Tensor | None = None) -> torch.Tensor:
        """Attend and transform.

        Args:
            x: (B, N, d).
            mask: (B, N) bool, or (B, N, N) where places see different ones.
            prompts: (B, P, d); the first half goes before the keys' source, the second before the values'.

        Returns:
            (B, N, d).
        """
        batch, length, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if prompts is not None:
            k, v = self._prompted(prompts, k, v)
            mask = torch.cat([mask.new_ones(batch, prompts.shape[1] // 2), mask], dim=1)
        attended = _attention(
            q,
            k,
            v,
            mask[:, None, None, :] if mask.ndim == 2 else mask[:, None],
            self.attention_dropout if self.training else 0.0,
        )
        x = x + self.dropout(self.out(attended.transpose(1, 2).reshape(batch, length, width)))
        return x + self.dropout(self.mlp(self.norm2(x)))

    def _prompted(self, prompts: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values (B, H, N, d / H) with those of the prompts before them."""
        batch, count, width = prompts.shape
        weights, biases = self.qkv.weight.split(width), self.qkv.bias.split(width)
        out = []
        for half, i, old in zip(prompts.split(count // 2, dim=1), (1, 2), (k, v), strict=True):
            new = functional.linear(half, weights[i], biases[i]).view(batch, count // 2, self.heads, -1)
            out.append(torch.cat([new.transpose(1, 2), old], dim=2))
        return out[0], out[1]


def _attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor, dropout: float) -> torch.Tensor:
    """Of (B, H, N, d / H); in float32 on a CPU, whose backward pass of it in bfloat16 takes six times as long."""
    if q.device.type == "cpu" and q.dtype == torch.bfloat16:
        with torch.autocast("cpu", enabled=False):
            q, k, v = q.float(), k.float(), v.float()
            return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
    return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)


class Transformer(Fusion):
    """(B, n_m, d) tokens of each modality -> Fused, every token having seen every other."""

    reads = frozenset({"depth", *Block.READS})
    has_norm = True
    takes_prompts = True
    has_cls = True

    @dataclass(frozen=True)
    class Options:
        cls_is_query: bool = option(False, "The class token reads all tokens, and no token reads it (MacJEPA).")

    def __init__(self, shape: Shape, options: Options) -> None:
        super().__init__(shape, options)
        self.query = options.cls_is_query
        self.cls = nn.Parameter(torch.randn(1, 1, shape.width) * 0.02)
        self.blocks = nn.ModuleList([Block(shape) for _ in range(shape.depth)])
        self.norm = nn.LayerNorm(shape.width)

    def forward(self, tokens: list[torch.Tensor], masks: list[torch.Tensor], prompts: Prompts | None = None) -> Fused:
        batch = tokens[0].shape[0]
        x = torch.cat([self.cls.expand(batch, -1, -1), *tokens], dim=1)  # (B, 1 + sum n_m, d)
        mask = torch.cat([masks[0].new_ones(batch, 1), *masks], dim=1)
        if self.query:
            mask = unseen_query(mask)
        before = 0
        for layer, block in enumerate(self.blocks):
            own = prompts.rows[:, layer] if prompts is not None and layer < prompts.rows.shape[1] else None
            if own is not None and own.shape[1] and prompts is not None and prompts.kind == "input":
                x = torch.cat([own, x], dim=1)
                mask = torch.cat([mask.new_ones(batch, own.shape[1]), mask], dim=1)
                before += own.shape[1]
                own = None
            x = block(x, mask, own if own is not None and own.shape[1] else None)
        cls, *parts = self.norm(x)[:, before:].split([1, *(part.shape[1] for part in tokens)], dim=1)
        return Fused(cls.squeeze(1), parts, masks)


def unseen_query(mask: torch.Tensor) -> torch.Tensor:
    """(B, N) -> (B, N, N): place 0 sees itself and all others; no other place sees place 0."""
    pairs = mask[:, None, :].repeat(1, mask.shape[1], 1)
    pairs[:, 1:, 0] = False
    # A row of padding alone would have no softmax; what comes of it is never read.
    return pairs | ~pairs.any(dim=2, keepdim=True)
