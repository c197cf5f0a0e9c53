import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mmcache.store import k_average

PROPERTY = settings(max_examples=80)
shapes = st.tuples(st.integers(1, 4), st.integers(1, 40), st.integers(1, 5))


def tokens_of(shape: tuple[int, ...], dtype: str = "float32", seed: int = 0) -> NDArray[np.floating]:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def one_by_one(row: NDArray[np.floating], k: int) -> NDArray[np.float64]:
    """k-Average of one (n, D) row, as the paper says it."""
    n = len(row)
    if n <= k:
        return row.astype(np.float64)
    size = n // k
    groups = [row[i * size : (i + 1) * size] for i in range(k - 1)] + [row[(k - 1) * size :]]
    return np.array([group.astype(np.float64).mean(axis=0) for group in groups])


@pytest.mark.holds("karmma", "3.2 k-average: identity for n <= k, the mean where k divides n, min(n, k) tokens")
@PROPERTY
@given(shape=shapes, extra=st.integers(0, 5), dtype=st.sampled_from(["float16", "float32"]))
def test_short_sequences_stay_as_they_are(shape: tuple[int, int, int], extra: int, dtype: str) -> None:
    tokens = tokens_of(shape, dtype)
    short, lengths = k_average(tokens, shape[1] + extra)
    np.testing.assert_array_equal(short, tokens)
    assert lengths.tolist() == [shape[1]] * shape[0]


@PROPERTY
@given(shape=shapes, k=st.integers(1, 12))
def test_groups_are_contiguous_and_the_last_takes_the_remainder(shape: tuple[int, int, int], k: int) -> None:
    tokens = tokens_of(shape)
    short, _ = k_average(tokens, k)
    np.testing.assert_allclose(short, [one_by_one(row, k) for row in tokens], rtol=1e-5, atol=1e-6)


def test_the_remainder_joins_the_last_group() -> None:
    tokens = np.array([1, 3, 5, 7, 100, 101, 102], np.float32).reshape(1, 7, 1)
    assert k_average(tokens, 3)[0].ravel().tolist() == [2, 6, 101]


@pytest.mark.holds("karmma", "3.2 k-average: identity for n <= k, the mean where k divides n, min(n, k) tokens")
@PROPERTY
@given(k=st.integers(1, 8), size=st.integers(1, 6), width=st.integers(1, 4))
def test_the_mean_is_preserved_when_k_divides_the_length(k: int, size: int, width: int) -> None:
    tokens = tokens_of((3, k * size, width))
    short, _ = k_average(tokens, k)
    np.testing.assert_allclose(short.mean(axis=1), tokens.mean(axis=1), rtol=1e-5, atol=1e-6)


@pytest.mark.holds("karmma", "3.2 k-average: identity for n <= k, the mean where k divides n, min(n, k) tokens")
@PROPERTY
@given(shape=shapes, k=st.integers(1, 50))
def test_the_output_has_the_lesser_of_length_and_k_tokens(shape: tuple[int, int, int], k: int) -> None:
    short, lengths = k_average(tokens_of(shape), k)
    assert short.shape == (shape[0], min(shape[1], k), shape[2])
    assert lengths.dtype == np.int32
    assert lengths.tolist() == [min(shape[1], k)] * shape[0]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("lengths", [None, np.array([9, 4])])
def test_the_dtype_stays(dtype: str, lengths: NDArray[np.integer] | None) -> None:
    assert k_average(tokens_of((2, 9, 3), dtype), 2, lengths)[0].dtype == dtype


def test_half_precision_sums_do_not_overflow() -> None:
    """1000 tokens of 60000 would sum to infinity in float16."""
    short, _ = k_average(np.full((1, 1000, 2), 60000, np.float16), 1)
    assert short.ravel().tolist() == [60000, 60000]


@PROPERTY
@given(
    lengths=st.lists(st.integers(0, 20), min_size=1, max_size=6),
    k=st.integers(1, 9),
    dtype=st.sampled_from(["float16", "float32"]),
)
def test_rows_of_any_lengths_equal_each_row_alone(lengths: list[int], k: int, dtype: str) -> None:
    """Padding is NaN here: it must not reach the result."""
    tokens = tokens_of((len(lengths), 20, 3), dtype)
    for row, n in enumerate(lengths):
        tokens[row, n:] = np.nan
    together, new_lengths = k_average(tokens, k, np.array(lengths))
    assert together.shape == (len(lengths), min(20, k), 3)
    assert new_lengths.tolist() == [min(n, k) for n in lengths]
    for row, n in enumerate(lengths):
        alone, _ = k_average(tokens[row : row + 1, :n], k)
        np.testing.assert_array_equal(together[row, : min(n, k)], alone[0])
        assert not together[row, min(n, k) :].any()


def test_the_input_is_not_changed() -> None:
    tokens = tokens_of((2, 9, 3))
    before = tokens.copy()
    k_average(tokens, 2)
    k_average(tokens, 2, np.array([9, 5]))
    np.testing.assert_array_equal(tokens, before)


@pytest.mark.parametrize("k", [0, -3])
def test_k_below_one_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match=f"k must be at least 1, got {k}"):
        k_average(tokens_of((1, 4, 2)), k)


@pytest.mark.parametrize("shape", [(4, 2), (1, 1, 4, 2)])
def test_other_than_three_axes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"tokens must be \(B, T, D\), got shape"):
        k_average(tokens_of(shape), 2)
