"""int8 tokens: one scale a token, half the bytes of float16.

scale = max |x| / 127 over the token's D values,  q = round(x / scale),  x is read back as q * scale
"""

import numpy as np
from numpy.typing import NDArray

_LEVELS = 127


def quantise(tokens: NDArray[np.floating]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Tokens (..., T, D), all finite -> int8 (..., T, D) and float32 scales (..., T, 1); a zero token has scale 0."""
    values = tokens.astype(np.float32, copy=False)
    peak = np.maximum(values.max(axis=-1, keepdims=True), -values.min(axis=-1, keepdims=True))
    scale = peak / np.float32(_LEVELS)
    quotient = values / np.where(scale > 0, scale, 1)
    np.rint(quotient, out=quotient)
    if (scale < np.finfo(np.float32).tiny).any():  # a subnormal scale has few significant bits
        np.clip(quotient, -_LEVELS, _LEVELS, out=quotient)
    return quotient.astype(np.int8), scale


def dequantise(
    quantised: NDArray[np.int8], scale: NDArray[np.float32], dtype: np.dtype | str = "float16"
) -> NDArray[np.floating]:
    """Multiply int8 tokens (..., T, D) by their float32 scales (..., T, 1): (..., T, D) of `dtype`."""
    return (quantised * scale).astype(dtype, copy=False)


def relative_error(tokens: NDArray[np.floating], back: NDArray[np.floating]) -> NDArray[np.float32]:
    """||x - y|| / ||x|| over the last two axes: (..., T, D) twice -> (...); 0 where x is all zero."""
    for dtype in (np.float32, np.float64):  # the second for values whose squares leave the range of the first
        exact: NDArray[np.floating] = tokens.astype(dtype, copy=False)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            difference, norm = (_square_sum(values) for values in (exact - back, exact))
        if np.isfinite(difference).all() and (np.isfinite(norm) & (norm > np.finfo(np.float32).tiny)).all():
            break
    return np.sqrt(np.divide(difference, norm, out=np.zeros_like(norm), where=norm > 0)).astype(np.float32)


def _square_sum(values: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.einsum("...td,...td->...", values, values)
