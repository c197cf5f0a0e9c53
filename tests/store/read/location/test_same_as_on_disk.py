"""A store at an address reads as the same one on the disk."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.codecs import Crc32cCodec, ZstdCodec

from mmcache.store import FeatureStore, Presence
from mmcache.store.exchange.hdf5_export import export_hdf5
from mmcache.store.exchange.npy_export import export_npy
from mmcache.store.manage.info import describe
from mmcache.store.read.chunk_readers import LibraryReader, LocalReader, RangeReader

PROPERTY = settings(max_examples=15)


def names(store: FeatureStore) -> list[str]:
    return [f"{modality}/{encoder}" for modality, encoder in store.arrays]


def test_all_but_the_tokens_is_the_same(remote: FeatureStore, local: FeatureStore) -> None:
    assert remote.arrays == local.arrays
    assert remote.modalities == local.modalities
    assert remote.meta == local.meta
    assert len(remote) == len(local)
    pd.testing.assert_frame_equal(remote.segments, local.segments)
    assert remote.failures == local.failures != []
    assert remote.notes == local.notes
    assert remote.tasks == local.tasks
    for array in names(local):
        np.testing.assert_array_equal(remote.present[array], local.present[array])
        for kind in ("lengths", "errors"):
            ours, theirs = getattr(remote, kind)[array], getattr(local, kind)[array]
            assert (ours is None) == (theirs is None)
            if ours is not None:
                np.testing.assert_array_equal(ours, theirs)
        one, other = remote.tokens[array], local.tokens[array]
        assert (one.shape, one.dtype, one.name) == (other.shape, other.dtype, other.name)
        assert one.fingerprint == other.fingerprint
    assert {array.rpartition("-")[2] for array in names(local)} >= {"int8"}


@PROPERTY
@given(data=st.data(), check=st.booleans())
def test_tokens_are_the_same(server: Any, name: str, local: FeatureStore, data: st.DataObject, check: bool) -> None:
    """Any rows, also negative, repeated or absent ones, of any view, int8 and its scales too."""
    remote = FeatureStore.open(data.draw(st.sampled_from([server.s3, server.http]))(name))
    array = data.draw(st.sampled_from(names(local)))
    ours, theirs = remote.tokens[array], local.tokens[array]
    view = data.draw(st.integers(0, theirs.shape[1] - 1))
    row = st.integers(-len(local), len(local) - 1)
    where = np.array(data.draw(st.lists(row, max_size=12)), np.int64)
    if (local.present[array][where] != Presence.CACHED).any():
        check = False  # it would refuse rows that have no chunk
    np.testing.assert_array_equal(ours.read(where, view, check=check), theirs.read(where, view))
    np.testing.assert_array_equal(ours.read_float(where, view), theirs.read_float(where, view))
    if theirs.scale is not None:
        np.testing.assert_array_equal(ours.scale.read(where, view), theirs.scale.read(where, view))


def test_each_kind_of_place_has_its_reader(remote: FeatureStore, local: FeatureStore) -> None:
    for array in names(local):
        assert type(remote.tokens[array]._reader) is RangeReader
        assert type(local.tokens[array]._reader) is LocalReader


def test_out_is_filled_in_place(remote: FeatureStore, local: FeatureStore) -> None:
    rows = np.array([0, 4, 7])
    out = np.full((3, 2, 5), np.nan, np.float32)
    assert remote.tokens["rgb"].read(rows, out=out) is out
    np.testing.assert_array_equal(out, local.tokens["rgb"].read(rows))
    with pytest.raises(IndexError, match=f"row {len(local)} is outside"):
        remote.tokens["rgb"].read(np.array([len(local)]))
    with pytest.raises(IndexError, match="view 1 is outside"):
        remote.tokens["rgb"].read(np.array([0]), 1)


@pytest.mark.parametrize("modalities", [None, ["audio", "imu/small-int8"]])
@pytest.mark.parametrize("resident", ["disk", "ram"])
def test_batches_are_the_same(
    resident: str, modalities: list[str] | None, remote: FeatureStore, local: FeatureStore
) -> None:
    how: dict[str, Any] = {"modalities": modalities, "batch_size": 3, "seed": 5, "resident": resident}
    ours, theirs = (list(store.batches("train", **how)) for store in (remote, local))
    assert len(ours) == len(theirs) > 1
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one.rows, other.rows)
        np.testing.assert_array_equal(one.present, other.present)
        for field in ("tokens", "lengths", "labels"):
            assert getattr(one, field).keys() == getattr(other, field).keys()
            for key, values in getattr(other, field).items():
                np.testing.assert_array_equal(getattr(one, field)[key], values)


def test_its_figures_are_the_same_but_for_bytes(remote: FeatureStore, local: FeatureStore) -> None:
    ours, theirs = describe(remote), describe(local)
    assert ours["bytes"] is None
    assert all(array["bytes"] is None for array in ours["arrays"])
    assert theirs["bytes"] > 0
    without = [
        {**described, "bytes": 0, "arrays": [{**array, "bytes": 0} for array in described["arrays"]]}
        for described in (ours, theirs)
    ]
    assert without[0] == without[1]


def test_it_is_exported_as_the_one_on_the_disk(remote: FeatureStore, local: FeatureStore, tmp_path: Path) -> None:
    for number, store in enumerate((remote, local)):
        export_npy(store, tmp_path / str(number))
        export_hdf5(store, tmp_path / f"{number}.h5")
    exported = [
        {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        for folder in (tmp_path / "0", tmp_path / "1")
    ]
    assert exported[0] == exported[1]
    assert len(exported[0]) > 20


def test_an_address_may_end_in_a_slash(server: Any, name: str, local: FeatureStore) -> None:
    assert len(FeatureStore.open(server.s3(name) + "/")) == len(local)


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"compressors": [ZstdCodec(), Crc32cCodec()]}, id="compressed"),
        pytest.param({"compressors": Crc32cCodec(), "shards": None}, id="not sharded"),
    ],
)
@pytest.mark.parametrize("scheme", ["s3", "http"])
def test_another_layout_is_read_through_zarr(
    scheme: str, spec: dict[str, Any], server: Any, make_store: Callable[..., Path]
) -> None:
    values = np.random.default_rng(0).standard_normal((5, 2, 3, 4)).astype(np.float16)
    root = make_store({"m": values})
    (root / "tokens/m/enc/zarr.json").unlink()
    shape = {"shape": values.shape, "dtype": "float16", "shards": (2, 2, 3, 4), "chunks": (1, 1, 3, 4)}
    array = zarr.create_array(root / "tokens/m/enc", overwrite=True, **{**shape, **spec})
    array[:4] = values[:4]
    array[4, 0] = values[4, 0]
    store = FeatureStore.open(getattr(server, scheme)(server.put(root)))
    assert type(store.tokens["m"]._reader) is LibraryReader
    rows = np.array([4, 0, -2, 0])
    for view in (0, 1):
        np.testing.assert_array_equal(store.tokens["m"].read(rows, view), array[:][rows, view])
