import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from mmcache.store.format.quantise import dequantise, quantise, relative_error

PROPERTY = settings(max_examples=100)
TOKENS = arrays(
    np.float32,
    array_shapes(min_dims=2, max_dims=3, max_side=6),
    elements=st.floats(-(2.0**127), 2.0**127, width=32),
)


@PROPERTY
@given(TOKENS)
def test_no_value_moves_by_more_than_half_a_step(tokens: NDArray[np.float32]) -> None:
    values, scale = quantise(tokens)
    assert values.dtype == np.int8
    assert scale.shape == (*tokens.shape[:-1], 1)
    assert np.abs(values.astype(int)).max() <= 127
    assert np.isfinite(scale).all()
    back = dequantise(values, scale, "float64")
    # A subnormal scale is itself rounded, by half of the smallest step there is, 127 times over.
    allowed = scale.astype(np.float64) * (0.5 + 1e-5) + 127 * 1.5e-45
    assert (np.abs(back - tokens.astype(np.float64)) <= allowed).all()


def test_the_largest_value_and_zero_are_exact() -> None:
    tokens = np.array([[0, 0, 0], [-12.7, 6.35, 0], [0, 5, -5]], np.float32)
    values, scale = quantise(tokens)
    assert values.tolist() == [[0, 0, 0], [-127, 64, 0], [0, 127, -127]]
    np.testing.assert_allclose(scale[:, 0], [0, 0.1, 5 / 127], rtol=1e-6)
    np.testing.assert_allclose(dequantise(values, scale)[2], [0, 5, -5])


def test_float16_tokens_are_quantised_as_the_numbers_they_are() -> None:
    tokens = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float16)
    for ours, theirs in zip(quantise(tokens), quantise(tokens.astype(np.float32)), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_rounding_costs_ordinary_tokens_about_half_a_percent() -> None:
    """Uniform rounding to steps of s has error s / sqrt(12); a normal token of 768 values peaks near 3.3 sigma."""
    tokens = np.random.default_rng(0).standard_normal((2, 300, 768)).astype(np.float32)
    error = relative_error(tokens, dequantise(*quantise(tokens), "float32"))
    assert error.shape == (2,)
    assert (np.abs(error - 3.3 / 127 / np.sqrt(12)) < 0.0015).all()


@PROPERTY
@given(TOKENS.filter(lambda tokens: tokens.ndim == 3), st.floats(0, 2))
def test_the_error_is_that_of_the_norms_whatever_the_range(tokens: NDArray[np.float32], factor: float) -> None:
    back = tokens.astype(np.float64) * factor
    expected = np.where((tokens != 0).any(axis=(1, 2)), abs(1 - factor), 0)
    np.testing.assert_allclose(relative_error(tokens, back), expected, atol=1e-3)
