"""Means over tokens, and the transformer encoder that pools and handlers share."""

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
