"""In which dtype tokens are stored, of themselves and as asked for."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmcache.store import ConfigError, FeatureStore, Presence
from mmcache.store.exchange.npy_import import import_npy
from mmcache.store.format.quantise import dequantise, quantise
from mmcache.store.ground.errors import StoreMismatchError
from mmcache.store.manage.verify import verify

C, M, F = Presence.CACHED, Presence.MISSING, Presence.FAILED
DTYPES: list[tuple[Sequence[str], str]] = [
    (["float16"], "float16"),
    (["float32"], "float32"),
    (["float16", "float32"], "float32"),
    (["float64"], "float32"),
    ([">f4", "float16"], "float32"),
]


@pytest.mark.parametrize(("given", "stored"), DTYPES)
def test_halves_stay_halves_and_anything_else_becomes_float32(
    given: Sequence[str],
    stored: str,
    user_folder: Callable[..., Path],
    tmp_path: Path,
    imported: Callable,
    tokens: Callable,
) -> None:
    arrays = {name: tokens(2, dtype=dtype) for name, dtype in zip("abc", given, strict=False)}
    store = imported(user_folder(m=arrays), tmp_path / "new.zarr")
    assert store.tokens["m"].dtype == stored
    assert (store.tokens["m"].read(np.arange(len(given))) == 1.5).all()


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "int8"])
def test_tokens_are_stored_as_asked_for(
    dtype: str, order: str, user_folder: Callable[..., Path], tmp_path: Path, imported: Callable
) -> None:
    values = np.asarray(np.random.default_rng(0).standard_normal((5, 3)), "float32", order=order)  # type: ignore[call-overload]
    store = imported(user_folder(m={"a": values}), tmp_path / "new.zarr", dtype=dtype)
    assert verify(store.path) == []
    assert store.tokens["m"].dtype == dtype
    expected = dequantise(*quantise(values)) if dtype == "int8" else values.astype(dtype)
    np.testing.assert_array_equal(store.tokens["m"].read_float(np.array([0]))[0], expected)


def test_a_value_that_the_dtype_cannot_hold_is_a_failure(
    user_folder: Callable[..., Path], tmp_path: Path, imported: Callable, tokens: Callable
) -> None:
    folder = user_folder(m={"a": tokens(1, dtype="float32"), "b": tokens(1, dtype="float32", value=1e6)})
    store = imported(folder, tmp_path / "new.zarr", dtype="float16")
    assert store.present["m"].tolist() == [C, F, M]
    assert [(line["id"], line["reason"]) for line in store.failures] == [("b", "values that float16 cannot hold")]


def test_another_dtype_is_refused(
    user_folder: Callable[..., Path], tmp_path: Path, imported: Callable, tokens: Callable
) -> None:
    folder = user_folder(m={"a": tokens(1)})
    with pytest.raises(ConfigError, match="--dtype float61: allowed are float16, float32, int8"):
        import_npy(folder, tmp_path / "new.zarr", dtype="float61")
    store = imported(folder, tmp_path / "new.zarr")
    with pytest.raises(StoreMismatchError, match="holds float16 tokens"):
        import_npy(folder, store.path, dtype="float32")


@settings(max_examples=20)
@given(
    dtype=st.sampled_from(["<f2", ">f2", "<f4", ">f4", "<f8", ">f8", "g"]),
    order=st.sampled_from(["C", "F"]),
    shape=st.one_of(st.tuples(st.integers(1, 5)), st.tuples(st.integers(1, 4), st.integers(1, 5))),
    seed=st.integers(0, 99),
)
def test_the_numbers_of_a_file_are_stored_whatever_their_form(
    dtype: str, order: str, shape: tuple[int, ...], seed: int, make_folder: Callable[[], Path]
) -> None:
    """Byte order, precision and order of the axes; one axis is one token."""
    folder = make_folder()
    values = np.asarray(np.random.default_rng(seed).standard_normal(shape), np.dtype(dtype), order=order)  # type: ignore[call-overload]
    (folder / "m").mkdir()
    np.save(folder / "m" / "a.npy", values)
    (folder / "segments.csv").write_text("id,split\na,test\n")
    store = FeatureStore.open(import_npy(folder, folder / "new.zarr").root)
    expected = values.astype(np.float16 if dtype == "<f2" else np.float32)
    np.testing.assert_array_equal(store.tokens["m"].read([0])[0], np.atleast_2d(expected))
