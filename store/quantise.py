"""int8 tokens: one scale a token, half the bytes of float16.

scale = max |x| / 127 over the token's D values,  q = round(x / scale),  x is read back as q * scale
"""

import numpy as np
from numpy.typing import NDArray

_LEVELS = 127


def quantise(tokens: NDArray[np.floating]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Tokens (..., T, D), all finite -> int8 (..., T, D) and float32 scales (..., T, 1); a zero token has scale 0."""
    values = tokens.astype(np.float32, copy=False)
    scale = np.abs(values).max(axis=-1, keepdims=True) / np.float32(_LEVELS)
    # Dividing by the largest value first keeps the quotient in range where the scale itself is subnormal.
    peak = np.where(scale > 0, scale * _LEVELS, 1).astype(np.float32)
    quotient = np.clip(np.rint(values / peak * _LEVELS), -_LEVELS, _LEVELS)
    quotient = np.where(scale > 0, quotient, 0)
    return quotient.astype(np.int8), scale.astype(np.float32)


def dequantise(
    quantised: NDArray[np.int8], scale: NDArray[np.float32], dtype: np.dtype | str = "float16"
) -> NDArray[np.floating]:
    """What int8 tokens stand for: int8 (..., T, D), float32 (..., T, 1) -> (..., T, D) of `dtype`."""
    return (quantised * scale).astype(dtype, copy=False)


def relative_error(tokens: NDArray[np.floating], back: NDArray[np.floating]) -> NDArray[np.float32]:
    """||x - y|| / ||x|| over the last two axes: (..., T, D) twice -> (...); 0 where x is all zero."""
    exact = tokens.astype(np.float64)
    difference = np.sqrt(((exact - back) ** 2).sum(axis=(-2, -1)))
    norm = np.sqrt((exact**2).sum(axis=(-2, -1)))
    return np.where(norm > 0, difference / np.where(norm > 0, norm, 1), 0).astype(np.float32)
