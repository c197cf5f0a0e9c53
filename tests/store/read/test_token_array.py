import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec, ZstdCodec

from mmcache.store.format import layout
from mmcache.store.format.layout import Presence
from mmcache.store.format.shard_file import ShardWriter
from mmcache.store.ground.errors import StoreError
from mmcache.store.read.token_array import TokenArray

PROPERTY = settings(max_examples=40)
SHAPE = (5, 2, 3, 4)


@pytest.fixture(scope="session")
def make_foreign(make_folder: Callable[[], Path]) -> Callable[..., tuple[TokenArray, zarr.Array]]:
    """Tokens (5, 2, 3, 4) that zarr-python wrote, with our codecs or others; row 4 and view 1 of row 2 left out."""

    def make(**spec: Any) -> tuple[TokenArray, zarr.Array]:
        root = make_folder()
        ours = {"shape": SHAPE, "dtype": "float16", "shards": (2, 2, 3, 4), "chunks": (1, 1, 3, 4), "fill_value": 0}
        array = zarr.create_array(root / "tokens/m/enc", **{"compressors": Crc32cCodec(), **ours, **spec})
        values = (100 * np.random.default_rng(0).standard_normal(SHAPE)).astype(array.dtype)
        array[:2], array[2, 0], array[3] = values[:2], values[2, 0], values[3]
        return TokenArray(root, "m", "enc"), array

    return make


def open_shards(array: TokenArray) -> set[int]:
    """The shards whose files this process holds open, as only the direct path does."""
    links = [f"/proc/self/fd/{descriptor}" for descriptor in os.listdir("/proc/self/fd")]
    files = {os.readlink(link) for link in links if os.path.islink(link)}
    return {shard for shard in range(array.grid.n_shards) if str(array.shard_path(shard)) in files}


@PROPERTY
@given(
    n=st.integers(1, 7),
    views=st.integers(1, 3),
    tokens=st.integers(1, 4),
    width=st.integers(1, 5),
    rows_per_shard=st.integers(1, 8),
    dtype=st.sampled_from(layout.FLOAT_DTYPES),
    data=st.data(),
)
def test_the_direct_path_reads_what_zarr_reads(
    n: int,
    views: int,
    tokens: int,
    width: int,
    rows_per_shard: int,
    dtype: str,
    data: st.DataObject,
    make_store: Callable[..., Path],
    random_tokens: Callable[..., NDArray[np.floating]],
) -> None:
    statuses = data.draw(st.lists(st.sampled_from(Presence), min_size=n, max_size=n))
    rows = np.array(data.draw(st.lists(st.integers(-n, n - 1), max_size=10)), np.int64)
    view = data.draw(st.integers(0, views - 1))
    values = random_tokens(n, views, tokens, width, dtype=dtype)
    root = make_store({"m": values}, rows_per_shard, {"m": np.array(statuses)})

    array = TokenArray(root, "m", "enc")
    by_zarr = zarr.open_array(root / "tokens/m/enc", mode="r")[:]
    read = array.read(rows, view)
    assert array.shape == (n, views, tokens, width)
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, by_zarr[rows, view])
    present = np.array(statuses)[rows] == Presence.CACHED
    np.testing.assert_array_equal(read, values[rows, view] * present[:, None, None])
    assert open_shards(array) >= {row % n // array.grid.rows_per_shard for row in rows[present].tolist()}


@pytest.mark.parametrize("dtype", layout.TOKEN_DTYPES)
def test_what_zarr_wrote_with_our_codecs_is_read_directly(dtype: str, make_foreign: Callable[..., Any]) -> None:
    array, by_zarr = make_foreign(dtype=dtype)
    rows = np.array([3, -1, 0, 2, 2, 4, -5])
    for view in range(2):
        np.testing.assert_array_equal(array.read(rows, view), by_zarr[:][rows, view])
    assert open_shards(array) == {0, 1}


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"compressors": [ZstdCodec(), Crc32cCodec()]}, id="zstd-crc32c"),
        pytest.param({"compressors": ZstdCodec()}, id="zstd"),
        pytest.param({"compressors": None}, id="no-checksum"),
        pytest.param({"shards": None}, id="not-sharded"),
        pytest.param({"shards": {"shape": (2, 2, 3, 4), "index_location": "start"}}, id="index-first"),
        pytest.param({"shards": (2, 1, 3, 4)}, id="views-in-different-shards"),
        pytest.param({"chunks": (1, 2, 3, 4)}, id="views-in-one-chunk"),
        pytest.param({"chunks": (1, 1, 3, 2)}, id="tokens-in-several-chunks"),
        pytest.param({"dtype": ">f2"}, id="big-endian"),
        pytest.param({"dtype": "float64"}, id="float64"),
        pytest.param({"dtype": "int8"}, id="int8"),
        pytest.param({"chunk_key_encoding": {"name": "default", "separator": "."}}, id="keys-with-dots"),
        pytest.param({"chunk_key_encoding": {"name": "v2", "separator": "."}}, id="v2-keys-with-dots"),
        pytest.param({"chunk_key_encoding": {"name": "v2", "separator": "/"}}, id="v2-keys-with-slashes"),
        pytest.param({"fill_value": 7}, id="other-fill-value"),
    ],
)
def test_foreign_arrays_read_as_zarr_reads_them(spec: dict[str, Any], make_foreign: Callable[..., Any]) -> None:
    array, by_zarr = make_foreign(**spec)
    rows = np.array([3, -1, 0, 2, 2, 4, -5])
    for view in range(2):
        np.testing.assert_array_equal(array.read(rows, view), by_zarr[:][rows, view])


@pytest.mark.parametrize("compressors", [Crc32cCodec(), ZstdCodec()])
def test_out_is_filled_in_place(compressors: object, make_foreign: Callable[..., Any]) -> None:
    array, by_zarr = make_foreign(compressors=compressors)
    rows = np.array([4, 0, 2])
    out = np.full((3, 3, 4), np.nan, np.float16)
    assert array.read(rows, 1, out=out) is out
    np.testing.assert_array_equal(out, by_zarr[:][rows, 1])
    assert not out[0].any()


def test_out_may_be_a_part_of_a_larger_buffer(make_foreign: Callable[..., Any]) -> None:
    array, by_zarr = make_foreign()
    buffer = np.full((9, 3, 4), -1, np.float16)
    array.read(np.array([0, 3]), out=buffer[4:6])
    np.testing.assert_array_equal(buffer[4:6], by_zarr[:][[0, 3], 0])
    assert (buffer[:4] == -1).all()
    assert (buffer[6:] == -1).all()


@pytest.mark.parametrize(
    "out",
    [
        pytest.param(np.empty((3, 3, 4), np.float16), id="more rows"),
        pytest.param(np.empty((2, 4, 3), np.float16), id="axes swapped"),
        pytest.param(np.empty((2, 12), np.float16), id="flat"),
        pytest.param(np.empty((2, 3, 4), np.float32), id="float32"),
        pytest.param(np.empty((2, 3, 4), np.int16), id="int16"),
        pytest.param(np.empty((2, 4, 3), np.float16).transpose(0, 2, 1), id="transposed"),
        pytest.param(np.empty((4, 3, 4), np.float16)[::2], id="strided"),
    ],
)
def test_another_out_is_refused(out: NDArray[Any], make_foreign: Callable[..., Any]) -> None:
    array, _ = make_foreign()
    with pytest.raises(ValueError, match=r"out must be a C-contiguous float16 array of shape \(2, 3, 4\)"):
        array.read(np.array([0, 1]), out=out)


def test_no_rows_are_no_tokens(make_foreign: Callable[..., Any]) -> None:
    for array in (make_foreign()[0], make_foreign(compressors=ZstdCodec())[0]):
        assert array.read(np.array([], np.int64)).shape == (0, 3, 4)


@pytest.mark.parametrize("row", [5, -6])
def test_rows_outside_are_refused(row: int, make_foreign: Callable[..., Any]) -> None:
    with pytest.raises(IndexError, match=f"row {row} is outside the store's 5 rows"):
        make_foreign()[0].read(np.array([0, row]))


@pytest.mark.parametrize("view", [2, -1])
def test_views_outside_are_refused(view: int, make_foreign: Callable[..., Any]) -> None:
    with pytest.raises(IndexError, match=f"view {view} is outside the 2 cached views of m/enc"):
        make_foreign()[0].read(np.array([0]), view)


def test_what_is_no_token_array_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"zarr\.json is damaged"):
        TokenArray(tmp_path, "m", "enc")
    zarr.create_array(tmp_path / "tokens/m/enc", shape=(5, 4), dtype="float16")
    with pytest.raises(StoreError, match=r"has the shape \(5, 4\); it must be \(N, V, T, D\)"):
        TokenArray(tmp_path, "m", "enc")


@pytest.mark.parametrize("compressors", [Crc32cCodec(), [ZstdCodec(), Crc32cCodec()]], ids=["direct", "compressed"])
def test_a_truncated_shard_is_a_store_error(compressors: object, make_foreign: Callable[..., Any]) -> None:
    array, _ = make_foreign(compressors=compressors)
    path = array.shard_path(0)
    os.truncate(path, path.stat().st_size - 7)
    np.testing.assert_array_equal(array.read(np.array([4])), np.zeros((1, 3, 4)))
    with pytest.raises(StoreError, match="tokens/m/enc"):
        array.read(np.array([0, 4]))


def test_a_chunk_of_another_size_is_a_store_error(make_foreign: Callable[..., Any]) -> None:
    array, _ = make_foreign()
    writer = ShardWriter(array.shard_path(0), 4)
    writer.put(0, b"short")
    writer.commit()
    with pytest.raises(StoreError, match="a chunk of another size, expected 28 bytes"):
        array.read(np.array([0]))


def test_a_shard_cut_while_it_is_open_is_a_store_error(make_foreign: Callable[..., Any]) -> None:
    array, _ = make_foreign()
    array.read(np.array([0]))
    os.truncate(array.shard_path(0), 40)
    with pytest.raises(StoreError, match="ends inside a chunk"):
        array.read(np.array([1]))


def test_after_close_shards_rewritten_since_are_seen(make_foreign: Callable[..., Any]) -> None:
    array, _ = make_foreign()
    rows = np.arange(5)
    before = array.read(rows)
    zarr.open_array(array.path, mode="r+")[:] = np.full(SHAPE, 3, np.float16)
    np.testing.assert_array_equal(array.read(rows[:4]), before[:4])
    array.close()
    np.testing.assert_array_equal(array.read(rows), np.full((5, 3, 4), 3))


def test_files_are_closed_with_the_array(make_foreign: Callable[..., Any]) -> None:
    def open_files() -> int:
        return len(os.listdir("/proc/self/fd"))

    array, _ = make_foreign()
    before = open_files()
    array.read(np.arange(5))
    assert open_files() > before
    del array
    assert open_files() == before


@pytest.mark.parametrize("n_arrays", [1, 8])
def test_a_store_may_have_more_shards_than_a_process_open_files(
    make_store: Callable[..., Path], random_tokens: Callable[..., NDArray[np.floating]], n_arrays: int
) -> None:
    """1024 is a common limit, and 128 GB in shards of 128 MB reach it; here it is 64 for 80 shards in all."""
    n = 80 // n_arrays
    tokens = random_tokens(n, 1, 1, 2)
    root = make_store({f"m{i}": tokens for i in range(n_arrays)}, rows_per_shard=1)
    code = f"""
import resource, sys
from pathlib import Path
import numpy as np
from mmcache.store.read.token_array import TokenArray
arrays = [TokenArray(Path({str(root)!r}), f"m{{i}}", "enc") for i in range({n_arrays})]
arrays[0].read(np.array([0]))
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
for array in arrays:
    sys.stdout.buffer.write(array.read(np.arange({n})).tobytes())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == n_arrays * tokens.tobytes()


def test_what_an_array_says_of_itself(make_store: Callable[..., Path], fingerprint: object) -> None:
    root = make_store({"rgb/swin": np.ones((3, 1, 2, 4), np.float16)})
    array = TokenArray(root, "rgb", "swin")
    assert array.name == "rgb/swin"
    assert repr(array) == "TokenArray(rgb/swin, (3, 1, 2, 4), float16)"
    assert array.attributes == {"fingerprint": {**vars(fingerprint), "encoder": "swin"}}
    assert vars(array.fingerprint) == {**vars(fingerprint), "encoder": "swin"}


def test_an_array_without_a_fingerprint_is_a_store_error_only_when_it_is_asked_for(
    make_foreign: Callable[..., Any],
) -> None:
    array, _ = make_foreign()
    assert array.read(np.array([0])).any()
    with pytest.raises(StoreError, match="fingerprint"):
        array.fingerprint  # noqa: B018
