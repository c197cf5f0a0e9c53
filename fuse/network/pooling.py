"""Pooling: from the tokens of a modality to one vector, on demand before the fill, and in heads, fills and losses."""

import torch
from torch import nn


def masked_mean(tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(B, n, d) and (B, n) -> (B, d); zero where nothing is valid."""
    weights = mask.to(tokens.dtype)
    return torch.einsum("bnd,bn->bd", tokens, weights) / weights.sum(dim=1, keepdim=True).clamp_min(1.0)


def encoder_stack(width: int, depth: int, heads: int, hidden: int, dropout: float, norm: str) -> nn.TransformerEncoder:
    """torch's transformer encoder with GELU, batch first; padding stays in place, so that rows never mix.

    Args:
        norm: pre, LayerNorm before attention and MLP (ActionMAE, Eqs. 3 and 4), or post, after them (its code).
    """
    first = norm == "pre"
    layer = nn.TransformerEncoderLayer(
        width, heads, hidden, dropout, activation="gelu", batch_first=True, norm_first=first
    )
    return nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)


class MeanPool(nn.Module):
    """The mean of a modality's tokens."""

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, n, d) and (B, n) -> (B, 1, d)."""
        return masked_mean(tokens, mask)[:, None]


class TransformerPool(nn.Module):
    """The class token of a small transformer over a modality's tokens (ActionMAE, AAAI 2023: 2 layers over frames)."""

    def __init__(self, count: int, width: int, depth: int, heads: int, hidden: int, dropout: float, norm: str) -> None:
        super().__init__()
        self.cls = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.positions = nn.Parameter(torch.randn(count, width) * 0.02)
        self.encoder = encoder_stack(width, depth, heads, hidden, dropout, norm)

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, n, d) and (B, n) -> (B, 1, d)."""
        x = torch.cat([self.cls.expand(tokens.shape[0], -1, -1), tokens + self.positions[: tokens.shape[1]]], dim=1)
        padding = torch.cat([mask.new_zeros(mask.shape[0], 1), ~mask], dim=1)
        return self.encoder(x, src_key_padding_mask=padding)[:, :1]
