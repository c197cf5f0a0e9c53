"""LibraryReader with tensorstore against LibraryReader without, and both against zarr-python."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, TransposeCodec, ZstdCodec

from mmcache.store import StoreError
from mmcache.store.read.chunk_readers import LibraryReader
from mmcache.store.read.token_array import TokenArray

PROPERTY = settings(max_examples=30)
N, VIEWS, TOKENS, WIDTH = SHAPE = (7, 2, 3, 4)
COMPRESSORS = [
    [],
    [Crc32cCodec()],
    [ZstdCodec()],
    [ZstdCodec(level=3), Crc32cCodec()],
    [GzipCodec()],
    [BloscCodec(cname="lz4", shuffle="shuffle", typesize=2)],
    [BloscCodec(cname="zstd", shuffle="bitshuffle", typesize=2), Crc32cCodec()],
]


@contextmanager
def library(there: bool) -> Iterator[None]:
    """A block in which tensorstore can be imported, or cannot."""
    with pytest.MonkeyPatch.context() as patch:
        if not there:
            patch.setitem(sys.modules, "tensorstore", None)
        yield


def has_tensorstore(array: TokenArray) -> bool:
    """Whether an array that was read from is read through tensorstore."""
    assert type(array._reader) is LibraryReader
    return array._reader._tensorstore is not None


@st.composite
def any_spec(draw: st.DrawFn) -> dict[str, Any]:
    """An array that is not read by offsets: compressed, unsharded, or cut in other chunks."""
    spec = {
        "shape": SHAPE,
        "dtype": draw(st.sampled_from(["float16", "float32", "float64", "int8", ">f2", ">f4"])),
        "chunks": draw(st.sampled_from([(1, 1, 3, 4), (1, 2, 3, 4), (1, 1, 3, 2), (1, 1, 1, 4)])),
        "compressors": draw(st.sampled_from(COMPRESSORS)),
        "fill_value": draw(st.sampled_from([0, 7])),
        "filters": draw(st.sampled_from([[], [TransposeCodec(order=(3, 2, 1, 0))]])),
    }
    if draw(st.booleans()):
        location = draw(st.sampled_from(["start", "end"]))
        spec["shards"] = {"shape": (draw(st.integers(1, 4)), 2, 3, 4), "index_location": location}
    else:
        separator = draw(st.sampled_from("./"))
        spec["chunk_key_encoding"] = {"name": draw(st.sampled_from(["default", "v2"])), "separator": separator}
    return spec


def written(root: Path, spec: dict[str, Any]) -> zarr.Array:
    """Row 4, and view 1 of row 2, are left out."""
    array = zarr.create_array(root / "tokens/m/enc", **spec)
    values = (100 * np.random.default_rng(0).standard_normal(SHAPE)).astype(array.dtype)
    array[:2], array[2, 0], array[3], array[5:] = values[:2], values[2, 0], values[3], values[5:]
    return array


@PROPERTY
@given(spec=any_spec(), rows=st.lists(st.integers(-N, N - 1), max_size=9), view=st.integers(0, VIEWS - 1))
def test_with_tensorstore_and_without_the_tokens_are_the_same(
    spec: dict[str, Any], rows: list[int], view: int, make_folder: Callable[[], Path]
) -> None:
    root = make_folder()
    by_zarr = written(root, spec)[:]
    where = np.array(rows, np.int64)
    for there in (True, False):
        with library(there):
            array = TokenArray(root, "m", "enc")
            if array.is_direct:
                return  # read by offsets, as other tests have it
            out = np.empty((len(rows), TOKENS, WIDTH), array.dtype)
            assert array.read(where, view, out=out) is out
            assert has_tensorstore(array) == there
        np.testing.assert_array_equal(out, by_zarr[where, view])


@pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr version 3:UserWarning")
def test_codecs_that_tensorstore_does_not_know_are_read_by_zarr(make_folder: Callable[[], Path]) -> None:
    from zarr.codecs.numcodecs import LZ4

    root = make_folder()
    by_zarr = written(root, {"shape": SHAPE, "dtype": "float16", "chunks": (1, 1, 3, 4), "compressors": LZ4()})
    array = TokenArray(root, "m", "enc")
    rows = np.array([3, -1, 0, 4])
    np.testing.assert_array_equal(array.read(rows, 1), by_zarr[:][rows, 1])
    assert not has_tensorstore(array)


@pytest.mark.parametrize("with_library", [True, False])
@pytest.mark.parametrize("damage", ["flipped", "truncated", "emptied"])
@pytest.mark.parametrize("shards", [(2, 2, 3, 4), None])
def test_damage_is_a_store_error(
    shards: tuple[int, ...] | None, damage: str, with_library: bool, make_folder: Callable[[], Path]
) -> None:
    root = make_folder()
    spec = {"shape": SHAPE, "dtype": "float16", "chunks": (1, 1, 3, 4), "compressors": [ZstdCodec(), Crc32cCodec()]}
    by_zarr = written(root, {**spec, "shards": shards})[:]
    file = root / "tokens/m/enc/c/0/0/0/0"
    data = bytearray(file.read_bytes())
    data[6] ^= 4
    file.write_bytes({"flipped": bytes(data), "truncated": bytes(data[:-3]), "emptied": b""}[damage])
    with library(with_library):
        array = TokenArray(root, "m", "enc")
        with pytest.raises(StoreError, match=r"tokens/m/enc cannot be read .*; the store is damaged there"):
            array.read(np.array([3, 0]))
        np.testing.assert_array_equal(array.read(np.array([3])), by_zarr[[3], 0])
    assert has_tensorstore(array) == with_library


@pytest.mark.parametrize("with_library", [True, False])
def test_what_was_written_since_is_seen(with_library: bool, make_folder: Callable[[], Path]) -> None:
    """Neither library keeps chunks or shard indexes."""
    root = make_folder()
    spec = {"shape": SHAPE, "dtype": "float16", "chunks": (1, 1, 3, 4), "compressors": ZstdCodec()}
    by_zarr = written(root, {**spec, "shards": (2, 2, 3, 4)})
    with library(with_library):
        array = TokenArray(root, "m", "enc")
        assert not array.read(np.array([4])).any()
        by_zarr[4] = np.full(SHAPE[1:], 3, np.float16)
        assert (array.read(np.array([4])) == 3).all()
    assert has_tensorstore(array) == with_library


def test_a_relative_path_stays_where_it_was(make_folder: Callable[[], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    root, elsewhere = make_folder(), make_folder()
    spec = {"shape": SHAPE, "dtype": "float16", "chunks": (1, 1, 3, 4), "compressors": ZstdCodec()}
    by_zarr = written(root / "a b#c?d%20", spec)[:]
    monkeypatch.chdir(root)
    array = TokenArray(Path("a b#c?d%20"), "m", "enc")
    np.testing.assert_array_equal(array.read(np.array([0, 3])), by_zarr[[0, 3], 0])
    assert has_tensorstore(array)
    monkeypatch.chdir(elsewhere)
    np.testing.assert_array_equal(array.read(np.array([0, 3])), by_zarr[[0, 3], 0])
    assert os.listdir(elsewhere) == []


def in_fork(work: Callable[[], object]) -> int:
    import signal

    process = os.fork()
    if process == 0:
        signal.alarm(20)
        work()
        os._exit(0)
    return os.waitpid(process, 0)[1]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_plain_store_is_read_in_forked_workers(make_store: Callable[..., Path]) -> None:
    """As torch's DataLoader has them. Now: 'aborting: fork() use detected', because every TokenArray opens tensorstore,
    even one that is read by offsets."""
    root = make_store({"m": np.ones((4, 1, 2, 3), np.float16)})
    read = lambda: TokenArray(root, "m", "enc").read(np.arange(4))  # noqa: E731
    read()
    assert in_fork(read) == 0


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_compressed_store_is_read_in_forked_workers(make_folder: Callable[[], Path]) -> None:
    root = make_folder()
    written(root, {"shape": SHAPE, "dtype": "float16", "chunks": (1, 1, 3, 4), "compressors": ZstdCodec()})
    array = TokenArray(root, "m", "enc")
    array.read(np.array([0]))
    assert in_fork(lambda: array.read(np.array([0]))) == 0


def test_tensorstore_is_not_imported_for_plain_shards(make_store: Callable[..., Path]) -> None:
    import subprocess

    root = make_store({"m": np.ones((4, 1, 2, 3), np.float16)})
    code = f"""
import sys
from pathlib import Path
from mmcache.store.read.token_array import TokenArray
TokenArray(Path({str(root)!r}), "m", "enc")
sys.exit("tensorstore" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
