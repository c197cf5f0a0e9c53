"""Transformer fusion: [CLS | tokens of every modality] through pre-norm blocks."""

import dataclasses

import torch
from torch import nn
from torch.nn import functional


@dataclasses.dataclass(frozen=True)
class Fused:
    """What a fusion gives its heads.

    Attributes:
        cls: (B, d) the class token, or None where a fusion has none.
        tokens: one (B, n_m, d) a modality.
        masks: one (B, n_m) bool a modality, true where there is a token.
    """

    cls: torch.Tensor | None
    tokens: list[torch.Tensor]
    masks: list[torch.Tensor]


class Block(nn.Module):
    """Pre-norm self-attention and MLP; masked places are never attended to."""

    def __init__(self, width: int, heads: int, ffn_ratio: float, dropout: float, attention_dropout: float) -> None:
        super().__init__()
        self.heads, self.attention_dropout = heads, attention_dropout
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        hidden = int(width * ffn_ratio)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """x (B, N, d), mask (B, N) bool -> (B, N, d)."""
        batch, length, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=mask[:, None, None, :],
            dropout_p=self.attention_dropout if self.training else 0.0,
        )
        x = x + self.dropout(self.out(attended.transpose(1, 2).reshape(batch, length, width)))
        return x + self.dropout(self.mlp(self.norm2(x)))


class TransformerFusion(nn.Module):
    """(B, n_m, d) tokens of each modality -> Fused, every token having seen every other."""

    def __init__(
        self, width: int, depth: int, heads: int, ffn_ratio: float, dropout: float, attention_dropout: float
    ) -> None:
        super().__init__()
        self.cls = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.blocks = nn.ModuleList([Block(width, heads, ffn_ratio, dropout, attention_dropout) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: list[torch.Tensor], masks: list[torch.Tensor]) -> Fused:
        batch = tokens[0].shape[0]
        x = torch.cat([self.cls.expand(batch, -1, -1), *tokens], dim=1)  # (B, 1 + sum n_m, d)
        mask = torch.cat([masks[0].new_ones(batch, 1), *masks], dim=1)
        for block in self.blocks:
            x = block(x, mask)
        cls, *parts = self.norm(x).split([1, *(part.shape[1] for part in tokens)], dim=1)
        return Fused(cls.squeeze(1), parts, masks)
