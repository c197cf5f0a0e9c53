"""k-Average: shorten a token sequence to at most k tokens (KARMMA, arXiv 2504.08578)."""

import numpy as np
from numpy.typing import NDArray


def k_average(
    tokens: NDArray[np.floating], k: int, lengths: NDArray[np.integer] | None = None
) -> tuple[NDArray[np.floating], NDArray[np.int32]]:
    """Average contiguous groups of tokens until at most `k` are left.

    n <= k tokens stay as they are. Otherwise k groups of floor(n / k) tokens are averaged, the remainder
    joining the last group. Sums run in float32, the result has the dtype of `tokens`.

    Args:
        tokens: (B, T, D). Rows shorter than T are padded at the end.
        k: the token cap, at least 1.
        lengths: (B,) true token counts; None means all are T.

    Returns:
        (B, min(T, k), D) tokens, zero after each row's length, and the (B,) new lengths.

    Raises:
        ValueError: k < 1, or `tokens` is not (B, T, D).
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if tokens.ndim != 3:
        raise ValueError(f"tokens must be (B, T, D), got shape {tokens.shape}")
    batch, length, _ = tokens.shape
    if lengths is None:
        new_lengths = np.full(batch, min(length, k), np.int32)
        return (tokens if length <= k else _group_means(tokens, k)), new_lengths

    out = np.zeros((batch, min(length, k), tokens.shape[2]), tokens.dtype)
    for n in np.unique(lengths):  # rows of one length are averaged together
        rows = np.flatnonzero(lengths == n)
        block = tokens[rows, :n]
        out[rows, : min(n, k)] = block if n <= k else _group_means(block, k)
    return out, np.minimum(lengths, k).astype(np.int32)


def _group_means(tokens: NDArray[np.floating], k: int) -> NDArray[np.floating]:
    """(B, n, D) with n > k -> (B, k, D)."""
    batch, n, width = tokens.shape
    size = n // k
    even = tokens[:, : size * k].reshape(batch, k, size, width)
    sums = even.sum(axis=2, dtype=np.float32)
    counts = np.full((k, 1), size, np.float32)
    remainder = n - size * k
    if remainder:
        sums[:, -1] += tokens[:, size * k :].sum(axis=1, dtype=np.float32)
        counts[-1] += remainder
    return (sums / counts).astype(tokens.dtype)
