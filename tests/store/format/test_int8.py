"""Stores of int8 tokens with a scale a token, from the writer to the batch."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mmcache.store import FeatureStore, Presence, StoreError, StoreMeta
from mmcache.store.format.fingerprint import Fingerprint
from mmcache.store.format.kaverage import k_average
from mmcache.store.format.quantise import relative_error
from mmcache.store.format.reports import finish_reports
from mmcache.store.load.loader import Loader
from mmcache.store.manage.reduce import reduce_store
from mmcache.store.manage.verify import verify
from mmcache.store.read.token_array import TokenArray
from mmcache.store.write.add_tokens import add_tokens
from mmcache.store.write.create import create_store

PROPERTY = settings(max_examples=20)
SHAPE = (7, 2, 6, 5)
PRESENCE = np.array([1, 1, 0, 2, 1, 3, 1])


@pytest.fixture(scope="module")
def originals() -> NDArray[np.float32]:
    return (
        np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32) * np.logspace(-3, 3, 7)[:, None, None, None]
    )


@pytest.fixture(scope="module")
def root(
    make_folder: Callable[[], Path],
    make_segments: Callable[[int], pd.DataFrame],
    make_meta: Callable[[pd.DataFrame], StoreMeta],
    fill_tokens: Callable[..., None],
    fingerprint: Fingerprint,
    originals: NDArray[np.float32],
) -> Path:
    """Seven segments of two views in shards of three, of every presence, beside a float16 set of the same."""
    root = make_folder() / "toy.zarr"
    segments = make_segments(7)
    create_store(root, segments, make_meta(segments))
    for modality, dtype, size in (("m", "int8", 3 * 60), ("n", "float16", 3 * 120)):
        writer = add_tokens(root, modality, fingerprint, 6, 5, views=2, dtype=dtype, shard_bytes=size)
        fill_tokens(writer, originals, PRESENCE)
    finish_reports(root)
    return root


def test_what_is_read_back_is_within_half_a_step(root: Path, originals: NDArray[np.float32]) -> None:
    array = TokenArray(root, "m", "enc")
    assert (array.dtype, array.float_dtype) == (np.int8, np.float16)
    assert array.scale is not None
    cached = np.flatnonzero(PRESENCE == Presence.CACHED)
    for view in range(2):
        scale = array.scale.read(cached, view)
        assert scale.shape == (len(cached), 6, 1)
        wanted = originals[cached, view]
        exact = array.read(cached, view) * scale
        assert (np.abs(exact - wanted) <= scale * 0.5001).all()
        np.testing.assert_array_equal(array.read_float(cached, view), exact.astype(np.float16))


def test_the_error_that_is_stored_is_the_one_that_was_made(root: Path, originals: NDArray[np.float32]) -> None:
    store = FeatureStore.open(root)
    array, errors = store.tokens["m"], store.errors["m"]
    assert errors is not None
    assert store.errors["n"] is None
    for row in range(7):
        if PRESENCE[row] != Presence.CACHED:
            assert np.isnan(errors[row]).all()
            continue
        for view in range(2):
            exact = array.read(np.array([row]), view) * array.scale.read(np.array([row]), view)
            assert errors[row, view] == pytest.approx(relative_error(originals[row, view][None], exact)[0], rel=1e-5)
            assert 0 < errors[row, view] < 0.02


def test_half_the_bytes_and_sound(root: Path) -> None:
    assert verify(root) == []
    sizes = {m: sum(f.stat().st_size for f in (root / "tokens" / m).rglob("c/*/0/0/0")) for m in ("m", "n")}
    chunks = 2 * int((PRESENCE == Presence.CACHED).sum())
    assert sizes["n"] - sizes["m"] == chunks * 30


def test_other_readers_of_zarr_can_do_the_same(root: Path) -> None:
    """Two arrays of one shape, to be multiplied; the attributes say so."""
    tokens = zarr.open_array(root / "tokens/m/enc", mode="r")
    said = tokens.attrs["quantisation"]
    assert said == {"scheme": "token = int8 * scale", "scale": "scale/m/enc"}
    product = tokens[:] * zarr.open_array(root / said["scale"], mode="r")[:]
    rows = np.arange(7)
    np.testing.assert_array_equal(product[:, 1].astype(np.float16), TokenArray(root, "m", "enc").read_float(rows, 1))


@pytest.mark.parametrize("k", [None, 2, 4])
@pytest.mark.parametrize("resident", ["disk", "ram"])
def test_batches_are_the_floats(k: int | None, resident: str, root: Path) -> None:
    store = FeatureStore.open(root)
    loader = Loader(store, ["m"], np.arange(7), k=k, resident=resident)
    for batch in loader.in_order(batch_size=3):
        expected = store.tokens["m"].read_float(batch.rows)
        if k is not None:
            expected = k_average(expected, k)[0]
        np.testing.assert_array_equal(batch.tokens["m"], expected)
        assert batch.tokens["m"].numpy().dtype == np.float16
    bytes_a_row = (2 if k else 1) * (k or 6) * 5 + (0 if k else 6 * 4)
    assert loader.bytes == 7 * store.tokens["m"].shape[1] * bytes_a_row


def test_scales_that_are_gone_are_an_error_and_never_bare_integers(root: Path, make_folder: Callable[[], Path]) -> None:
    import shutil

    copy = Path(shutil.copytree(root, make_folder() / "toy.zarr"))
    shutil.rmtree(copy / "scale")
    with pytest.raises(StoreError, match="scale/m/enc"):
        FeatureStore.open(copy).tokens["m"]


@PROPERTY
@given(dtype=st.sampled_from(["int8", "float16", "float32"]), k=st.one_of(st.none(), st.integers(1, 7)))
def test_a_set_may_be_reduced_in_length_and_in_bytes(
    dtype: str, k: int | None, make_store: Callable[..., Path], random_tokens: Callable[..., NDArray[np.floating]]
) -> None:
    tokens = random_tokens(5, 2, 8, 4)
    lengths = np.array([[8, 3], [1, 8], [0, 0], [7, 2], [4, 4]])
    presence = np.array([1, 1, 2, 1, 1])
    root = make_store({"m": tokens}, 2, {"m": presence}, {"m": lengths})
    if k is None and dtype == "float16":
        return
    (made,) = reduce_store(root, k, dtype=dtype)
    store = FeatureStore.open(root)
    array = store.tokens[made]
    assert array.dtype == dtype
    assert array.shape == (5, 2, k or 8, 4)
    assert store.present[made].tolist() == presence.tolist()
    for view in range(2):
        cached = np.flatnonzero(presence == Presence.CACHED)
        expected, shorter = k_average(store.tokens["m/enc"].read(cached, view), k or 8, lengths[cached, view])
        np.testing.assert_array_equal(store.lengths[made][cached, view], shorter)
        np.testing.assert_allclose(array.read_float(cached, view), expected, atol=2 / 127 if dtype == "int8" else 0)
    assert verify(root) == []
    assert reduce_store(root, k, dtype=dtype) == [made]
