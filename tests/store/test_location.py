"""Stores at addresses, against a real server of S3's protocol on the loopback interface."""

import gc
import itertools
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import zarr
from fsspec.implementations.http import HTTPFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from s3fs import S3FileSystem
from zarr.codecs import Crc32cCodec, ZstdCodec

from mmcache.store import ConfigError, FeatureStore, Presence, StoreError
from mmcache.store.errors import NoStoreError
from mmcache.store.hdf5 import export_hdf5
from mmcache.store.info import describe
from mmcache.store.layout import FORMAT_VERSION
from mmcache.store.location import is_remote, locate
from mmcache.store.readers import LibraryReader, LocalReader, RangeReader

C, M, F, T = Presence.CACHED, Presence.MISSING, Presence.FAILED, Presence.TO_DO
BUCKET = "bucket"
PROPERTY = settings(max_examples=15)


class Server:
    """Copies of folders, each under a new name, and their addresses."""

    def __init__(self, url: str) -> None:
        import boto3

        self.url = url
        self.client = boto3.client("s3")
        self.client.create_bucket(Bucket=BUCKET)
        self.replaced: dict[str, bytes] = {}
        self._names = (f"{number}.zarr" for number in itertools.count())

    def put(self, folder: Path) -> str:
        """The name of the copy."""
        name = next(self._names)
        for file in folder.rglob("*"):
            if file.is_file():
                self.put_file(f"{name}/{file.relative_to(folder)}", file.read_bytes())
        return name

    def put_file(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=BUCKET, Key=key, Body=data, ACL="public-read")

    def get_file(self, key: str) -> bytes:
        return self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    def replace(self, key: str, data: bytes) -> None:
        self.replaced.setdefault(key, self.get_file(key))
        self.put_file(key, data)

    def flip(self, key: str, place: int) -> None:
        data = bytearray(self.get_file(key))
        data[place] ^= 0x80
        self.replace(key, bytes(data))

    def s3(self, name: str) -> str:
        return f"s3://{BUCKET}/{name}"

    def http(self, name: str) -> str:
        return f"{self.url}/{BUCKET}/{name}"


def forget_file_systems() -> None:
    """fsspec keeps them, with the endpoint they were made for, and lets the collector warn of their open sessions."""
    for kind in (HTTPFileSystem, S3FileSystem):
        kind.clear_instance_cache()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    from moto.server import ThreadedMotoServer

    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    url = "http://{}:{}".format(*moto.get_host_and_port())
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_DEFAULT_REGION", "us-east-1"),
            ("AWS_ENDPOINT_URL", url),
        ):
            patch.setenv(name, value)
        for name in ("http_proxy", "https_proxy", "all_proxy", "AWS_PROFILE"):
            patch.delenv(name, raising=False)
            patch.delenv(name.upper(), raising=False)
        forget_file_systems()
        yield Server(url)
        forget_file_systems()
    moto.stop()


N, ROWS = 11, 3
STATUS = {
    "audio": np.array([C, C, F, M, C, C, T, T, T, C, C]),  # the third shard has nothing
    "imu/small": np.array([C, M, C, C, C, F, C, C, C, C, M]),
    "rgb": np.array([C, C, C, C, M, C, C, C, C, C, C]),
}


@pytest.fixture(scope="module")
def local(make_store: Callable[..., Path], random_tokens: Callable[..., NDArray[np.floating]]) -> FeatureStore:
    """Two views with lengths; int8, made by reduce; float32 of one view; absent chunks and an absent shard."""
    from mmcache.store.reduce import reduce_store

    lengths = np.where(STATUS["audio"][:, None] == C, np.random.default_rng(0).integers(1, 5, (N, 2)), 0)
    tokens = {
        "audio": random_tokens(N, 2, 4, 3),
        "imu/small": random_tokens(N, 2, 3, 2, seed=1),
        "rgb": random_tokens(N, 1, 2, 5, dtype="float32", seed=2),
    }
    root = make_store(tokens, ROWS, STATUS, {"audio": lengths})
    reduce_store(root, dtype="int8", modalities=["imu", "audio"], shard_bytes=2 * 2 * 3 * 2)
    return FeatureStore.open(root)


@pytest.fixture(scope="module")
def name(server: Server, local: FeatureStore) -> str:
    return server.put(local.path)


@pytest.fixture(scope="module", params=["s3", "http"])
def remote(request: pytest.FixtureRequest, server: Server, name: str) -> FeatureStore:
    return FeatureStore.open(getattr(server, request.param)(name))


def names(store: FeatureStore) -> list[str]:
    return [f"{modality}/{encoder}" for modality, encoder in store.arrays]


# The same as the one on the disk.


def test_all_but_the_tokens_is_the_same(remote: FeatureStore, local: FeatureStore) -> None:
    assert remote.arrays == local.arrays
    assert remote.modalities == local.modalities
    assert remote.meta == local.meta
    assert len(remote) == N
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
@given(data=st.data(), rows=st.lists(st.integers(-N, N - 1), max_size=12), check=st.booleans())
def test_tokens_are_the_same(
    server: Server, name: str, local: FeatureStore, data: st.DataObject, rows: list[int], check: bool
) -> None:
    """Any rows, also negative, repeated or absent ones, of any view, int8 and its scales too."""
    remote = FeatureStore.open(data.draw(st.sampled_from([server.s3, server.http]))(name))
    array = data.draw(st.sampled_from(names(local)))
    ours, theirs = remote.tokens[array], local.tokens[array]
    view = data.draw(st.integers(0, theirs.shape[1] - 1))
    where = np.array(rows, np.int64)
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
    with pytest.raises(IndexError, match=f"row {N} is outside"):
        remote.tokens["rgb"].read(np.array([N]))
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
    from mmcache.store.npy_folder import export_npy

    for number, store in enumerate((remote, local)):
        export_npy(store, tmp_path / str(number))
        export_hdf5(store, tmp_path / f"{number}.h5")
    exported = [
        {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        for folder in (tmp_path / "0", tmp_path / "1")
    ]
    assert exported[0] == exported[1]
    assert len(exported[0]) > 20


def test_an_address_may_end_in_a_slash(server: Server, name: str) -> None:
    assert len(FeatureStore.open(server.s3(name) + "/")) == N


# Arrays of others.


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"compressors": [ZstdCodec(), Crc32cCodec()]}, id="compressed"),
        pytest.param({"compressors": Crc32cCodec(), "shards": None}, id="not sharded"),
    ],
)
@pytest.mark.parametrize("scheme", ["s3", "http"])
def test_another_layout_is_read_through_zarr(
    scheme: str, spec: dict[str, Any], server: Server, make_store: Callable[..., Path]
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


# Damage.


@pytest.fixture
def copy(server: Server, name: str) -> Iterator[str]:
    """The name of the copy, which a test may damage: it is mended afterwards."""
    server.replaced.clear()
    yield name
    for key, data in server.replaced.items():
        server.put_file(key, data)


@pytest.mark.parametrize("scheme", ["s3", "http"])
@pytest.mark.parametrize("array", ["tokens/rgb/enc", "scale/imu/small-int8"])
def test_a_damaged_chunk_is_a_store_error(array: str, scheme: str, server: Server, copy: str) -> None:
    server.flip(f"{copy}/{array}/c/0/0/0/0", 1)
    store = FeatureStore.open(getattr(server, scheme)(copy))
    tokens = store.tokens[array.partition("/")[2]]
    with pytest.raises(StoreError, match=f"the tokens of row 0 in .*{copy}/{array} fail their checksum"):
        tokens.read_float(np.array([2, 0]))
    assert tokens.read_float(np.array([2])).any()


@pytest.mark.parametrize("data", [b"", b"short", None])
def test_a_damaged_index_is_a_store_error(data: bytes | None, server: Server, copy: str) -> None:
    key = f"{copy}/tokens/rgb/enc/c/1/0/0/0"
    if data is None:
        server.flip(key, -20)
    else:
        server.replace(key, data)
    store = FeatureStore.open(server.s3(copy))
    with pytest.raises(StoreError, match="truncated" if data is not None else "the index of shard"):
        store.tokens["rgb"].read(np.array([3]))
    assert store.tokens["rgb"].read(np.array([0])).any()


def test_a_shard_cut_while_it_is_read_is_a_store_error(server: Server, copy: str) -> None:
    store = FeatureStore.open(server.s3(copy))
    assert store.tokens["rgb"].read(np.array([0, 1])).any()
    key = f"{copy}/tokens/rgb/enc/c/0/0/0/0"
    server.replace(key, server.get_file(key)[:50])
    with pytest.raises(StoreError, match=r"the tokens of row 1 in .* fail their checksum"):
        store.tokens["rgb"].read(np.array([1]))


def test_after_close_what_was_written_since_is_seen(
    server: Server, make_store: Callable[..., Path], random_tokens: Callable[..., NDArray[np.floating]]
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
    file: str, look: Callable[[FeatureStore], Any], place: int, server: Server, copy: str
) -> None:
    server.flip(f"{copy}/{file}", place)
    with pytest.raises(StoreError, match="damaged"):
        look(FeatureStore.open(server.s3(copy)))


def test_what_is_no_store_of_ours_is_refused(server: Server, copy: str) -> None:
    newer = server.get_file(f"{copy}/zarr.json").replace(
        f'"format_version": {FORMAT_VERSION}'.encode(), f'"format_version": {FORMAT_VERSION + 1}'.encode()
    )
    from mmcache.store.sealed import BLANK, SEAL, seal

    for document, message in (
        (seal(f'{{"attributes": {{"{SEAL}": "{BLANK}"}}}}'.encode()), "not an mmcache store: attrs.mmcache is absent"),
        (newer, "is damaged"),
        (b"<html>", r"zarr\.json is damaged"),
    ):
        server.replace(f"{copy}/zarr.json", document)
        with pytest.raises(StoreError, match=message):
            FeatureStore.open(server.s3(copy))


# Addresses that lead nowhere.


def test_where_nothing_is_there_is_no_store(server: Server, name: str) -> None:
    for address in (
        server.s3("nowhere.zarr"),
        "s3://no-such-bucket/x",
        server.http("nowhere.zarr"),
        "memory://nowhere",
    ):
        with pytest.raises(NoStoreError, match=f"no store at {address}"):
            FeatureStore.open(address)


@pytest.mark.parametrize("address", ["foo://bucket/x", "s4://x/y"])
def test_an_unknown_scheme_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match=address):
        FeatureStore.open(address)


LACKING = """
import sys
from mmcache.store import ConfigError, FeatureStore
for scheme, library in (("s3", "s3fs"), ("gs", "gcsfs"), ("https", "aiohttp"), ("http", "upath")):
    sys.modules[library] = None
    try:
        FeatureStore.open(f"{scheme}://bucket/x")
    except ConfigError as error:
        print(error)
"""


def test_a_library_that_is_not_there_is_named_with_the_way_to_get_it() -> None:
    said = subprocess.run([sys.executable, "-c", LACKING], capture_output=True, text=True, check=True).stdout
    for line, scheme, library in zip(
        said.splitlines(), ("s3", "gs", "https", "http"), ("s3fs", "gcsfs", "aiohttp", "upath"), strict=True
    ):
        assert line.startswith(f"reading {scheme}:// needs more libraries (")
        assert library in line.lower()
        assert line.endswith("install them with: pip install 'mmcache[remote]'")


def test_paths_need_no_library(local: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ("upath", "fsspec", "s3fs"):
        monkeypatch.setitem(sys.modules, library, None)
    for path in (local.path, str(local.path)):
        assert locate(path) == local.path
        assert not is_remote(locate(path))
        assert len(FeatureStore.open(path)) == N
    assert locate("a/b.zarr") == Path("a/b.zarr")


def test_a_server_that_is_not_there_is_said_on_opening(
    server: Server, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On port 9, nobody listens."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    forget_file_systems()
    with pytest.raises(StoreError, match=f"s3://bucket/{name} cannot be reached or read: .*127.0.0.1:9"):
        FeatureStore.open(server.s3(name))
    forget_file_systems()


def test_a_server_that_went_away_gives_no_zeros(local: FeatureStore) -> None:
    import http.server
    import threading
    from functools import partial

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=local.path.parent)) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        store = FeatureStore.open(f"http://127.0.0.1:{httpd.server_address[1]}/{local.path.name}")
        tokens = store.tokens["rgb"]
        httpd.shutdown()
    with pytest.raises(StoreError):
        tokens.read(np.array([0]))
    forget_file_systems()


def test_a_shard_that_is_gone_though_presence_claims_it_is_a_store_error(server: Server, copy: str) -> None:
    store = FeatureStore.open(server.s3(copy))
    store.tokens["rgb"].read(np.array([0]))
    key = f"{copy}/tokens/rgb/enc/c/0/0/0/0"
    server.replace(key, server.get_file(key))
    server.client.delete_object(Bucket=BUCKET, Key=key)
    with pytest.raises(StoreError):
        store.tokens["rgb"].read(np.array([0]))
