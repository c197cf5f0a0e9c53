"""Heads: from fused tokens to logits."""
