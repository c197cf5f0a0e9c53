"""Damage at an address is a StoreError, and never zeros."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mmcache.store import FeatureStore, Presence, StoreError
from mmcache.store.files.sealed import BLANK, SEAL, seal
from mmcache.store.format.layout import FORMAT_VERSION

C, T = Presence.CACHED, Presence.TO_DO


@pytest.fixture
def copy(server: Any, name: str) -> Iterator[str]:
    """The name of the copy, which a test may damage: it is mended afterwards."""
    server.replaced.clear()
    yield name
    for key, data in server.replaced.items():
        server.put_file(key, data)


@pytest.mark.parametrize("scheme", ["s3", "http"])
@pytest.mark.parametrize("array", ["tokens/rgb/enc", "scale/imu/small-int8"])
def test_a_damaged_chunk_is_a_store_error(array: str, scheme: str, server: Any, copy: str) -> None:
    server.flip(f"{copy}/{array}/c/0/0/0/0", 1)
    store = FeatureStore.open(getattr(server, scheme)(copy))
    tokens = store.tokens[array.partition("/")[2]]
    with pytest.raises(StoreError, match=f"the tokens of row 0 in .*{copy}/{array} fail their checksum"):
        tokens.read_float(np.array([2, 0]))
    assert tokens.read_float(np.array([2])).any()


@pytest.mark.parametrize("data", [b"", b"short", None])
def test_a_damaged_index_is_a_store_error(data: bytes | None, server: Any, copy: str) -> None:
    key = f"{copy}/tokens/rgb/enc/c/1/0/0/0"
    if data is None:
        server.flip(key, -20)
    else:
        server.replace(key, data)
    store = FeatureStore.open(server.s3(copy))
    with pytest.raises(StoreError, match="truncated" if data is not None else "the index of shard"):
        store.tokens["rgb"].read(np.array([3]))
    assert store.tokens["rgb"].read(np.array([0])).any()


def test_a_shard_cut_while_it_is_read_is_a_store_error(server: Any, copy: str) -> None:
    store = FeatureStore.open(server.s3(copy))
    assert store.tokens["rgb"].read(np.array([0, 1])).any()
    key = f"{copy}/tokens/rgb/enc/c/0/0/0/0"
    server.replace(key, server.get_file(key)[:50])
    with pytest.raises(StoreError, match=r"the tokens of row 1 in .* fail their checksum"):
        store.tokens["rgb"].read(np.array([1]))


def test_a_shard_that_is_gone_though_presence_claims_it_is_a_store_error(server: Any, copy: str) -> None:
    store = FeatureStore.open(server.s3(copy))
    store.tokens["rgb"].read(np.array([0]))
    key = f"{copy}/tokens/rgb/enc/c/0/0/0/0"
    server.delete(key)
    with pytest.raises(StoreError):
        store.tokens["rgb"].read(np.array([0]))


def test_after_close_what_was_written_since_is_seen(
    server: Any, make_store: Callable[..., Path], random_tokens: Callable[..., NDArray[np.floating]]
) -> None:
    tokens = random_tokens(4, 1, 2, 3)
    root = make_store({"m": tokens}, presence={"m": np.array([C, T, C, C])})
    copy = server.put(root)
    store = FeatureStore.open(server.s3(copy))
    assert not store.tokens["m"].read(np.array([1])).any()
    whole = make_store({"m": tokens})
    server.put_file(f"{copy}/tokens/m/enc/c/0/0/0/0", (whole / "tokens/m/enc/c/0/0/0/0").read_bytes())
    store.close()
    np.testing.assert_array_equal(store.tokens["m"].read(np.array([0, 1])), tokens[:2, 0])


@pytest.mark.parametrize("place", [5, -5])
@pytest.mark.parametrize(
    ("file", "look"),
    [
        pytest.param("zarr.json", lambda store: store.meta, id="root"),
        pytest.param("segments.parquet", lambda store: store.segments, id="segments"),
        pytest.param("tokens/rgb/enc/zarr.json", lambda store: store.tokens["rgb"], id="tokens"),
        pytest.param("present/rgb/enc/c/0", lambda store: store.present["rgb"], id="presence"),
        pytest.param("length/audio/enc/c/0/0", lambda store: store.lengths["audio"], id="lengths"),
        pytest.param("error/imu/small-int8/c/0/0", lambda store: store.errors["imu/small-int8"], id="errors"),
        pytest.param("failures.jsonl", lambda store: store.failures, id="failures"),
    ],
)
def test_other_damage_is_a_store_error(
    file: str, look: Callable[[FeatureStore], Any], place: int, server: Any, copy: str
) -> None:
    server.flip(f"{copy}/{file}", place)
    with pytest.raises(StoreError, match="damaged"):
        look(FeatureStore.open(server.s3(copy)))


def test_what_is_no_store_of_ours_is_refused(server: Any, copy: str) -> None:
    newer = server.get_file(f"{copy}/zarr.json").replace(
        f'"format_version": {FORMAT_VERSION}'.encode(), f'"format_version": {FORMAT_VERSION + 1}'.encode()
    )
    other = f'{{"attributes": {{"{SEAL}": "{BLANK}"}}, "zarr_format": 3, "node_type": "group"}}'
    for document, message in (
        (seal(other.encode()), "not an mmcache store: attrs.mmcache is absent"),
        (newer, "is damaged"),
        (b"<html>", r"zarr\.json is damaged"),
    ):
        server.replace(f"{copy}/zarr.json", document)
        with pytest.raises(StoreError, match=message):
            FeatureStore.open(server.s3(copy))
