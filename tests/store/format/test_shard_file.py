import os
import resource
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from mmcache.store.format import layout
from mmcache.store.format.shard_file import EMPTY, ShardWriter, crc32c, read_index
from mmcache.store.ground.errors import StoreError

PROPERTY = settings(max_examples=25)
NO_CHUNK = struct.pack("<QQ", 2**64 - 1, 2**64 - 1)


def write_shard(path: Path, chunks: dict[int, bytes], n_slots: int) -> None:
    writer = ShardWriter(path, n_slots)
    for slot, chunk in chunks.items():
        writer.put(slot, chunk)
    writer.commit()


def test_the_checksum_is_crc32c() -> None:
    """The check value of the CRC-32C catalogue entry; Zarr stores it little-endian."""
    assert crc32c(b"123456789") == bytes.fromhex("839206e3")
    assert crc32c(memoryview(b"123456789")) == bytes.fromhex("839206e3")


def test_the_file_is_laid_out_as_zarr_has_it(tmp_path: Path) -> None:
    write_shard(tmp_path / "0", {1: b"abcd", 3: b"efgh"}, 4)
    index = NO_CHUNK + struct.pack("<QQ", 0, 8) + NO_CHUNK + struct.pack("<QQ", 8, 8)
    expected = b"abcd" + crc32c(b"abcd") + b"efgh" + crc32c(b"efgh") + index + crc32c(index)
    assert (tmp_path / "0").read_bytes() == expected
    index_read = read_index(tmp_path / "0", 4)
    assert index_read is not None
    assert index_read.tolist() == [[int(EMPTY)] * 2, [0, 8], [int(EMPTY)] * 2, [8, 8]]


@PROPERTY
@given(
    n_rows=st.integers(1, 5),
    views=st.integers(1, 2),
    dtype=st.sampled_from(["float16", "float32"]),
    data=st.data(),
)
def test_zarr_reads_what_we_write_and_we_find_what_zarr_writes(
    n_rows: int, views: int, dtype: str, data: st.DataObject, make_folder: Callable[[], Path]
) -> None:
    """One shard of tokens (N, V, 2, 3), some of its chunks left out."""
    slots = data.draw(st.sets(st.integers(0, n_rows * views - 1)))
    shape = (n_rows, views, 2, 3)
    tokens = np.zeros(shape, dtype)
    chunks = tokens.reshape(n_rows * views, 2, 3)
    for slot in slots:
        chunks[slot] = np.random.default_rng(slot).standard_normal((2, 3))
    key = Path("c/0/0/0/0")

    ours = make_folder()
    layout.write_sharded_array(ours, "", shape, dtype, n_rows, {})
    writer = ShardWriter(ours / key, n_rows * views)
    for slot in sorted(slots):
        writer.put(slot, chunks[slot].tobytes())
    writer.commit()
    np.testing.assert_array_equal(zarr.open_array(ours, mode="r")[:], tokens)
    assert (ours / key).exists() == bool(slots)

    theirs = make_folder()
    layout.write_sharded_array(theirs, "", shape, dtype, n_rows, {})
    zarr.open_array(theirs, mode="r+")[:] = tokens
    index = read_index(theirs / key, n_rows * views)
    if not slots:
        assert index is None
        return
    assert index is not None
    raw = (theirs / key).read_bytes()
    assert set(np.flatnonzero(index[:, 0] != EMPTY).tolist()) == slots
    for slot in slots:
        offset, size = index[slot].tolist()
        assert raw[offset : offset + size] == chunks[slot].tobytes() + crc32c(chunks[slot].tobytes())


@pytest.mark.parametrize("slot", [2, 1, 0])
def test_slots_must_ascend(tmp_path: Path, slot: int) -> None:
    writer = ShardWriter(tmp_path / "0", 4)
    writer.put(2, b"abcd")
    with pytest.raises(ValueError, match=f"slots must ascend: {slot} after 2"):
        writer.put(slot, b"efgh")
    writer.abort()


def test_a_shard_without_chunks_is_no_file(tmp_path: Path) -> None:
    path = tmp_path / "0"
    write_shard(path, {}, 4)
    assert list(tmp_path.iterdir()) == []
    write_shard(path, {0: b"abcd"}, 4)
    write_shard(path, {}, 4)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_in_place_before_the_commit(tmp_path: Path) -> None:
    path = tmp_path / "0"
    write_shard(path, {0: b"old!"}, 4)
    before = path.read_bytes()
    writer = ShardWriter(path, 4)
    writer.put(0, b"new!")
    assert path.read_bytes() == before
    writer.abort()
    assert [file.name for file in tmp_path.iterdir()] == ["0"]
    assert path.read_bytes() == before


def test_a_disk_that_takes_no_more_leaves_the_old_shard(tmp_path: Path) -> None:
    """Here the system refuses to let a file grow past 1000 bytes."""
    path = tmp_path / "0"
    write_shard(path, {0: b"o" * 600}, 4)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    writer = ShardWriter(path, 4)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        writer.put(0, b"n" * 600)
        writer.put(1, b"n" * 600)
        with pytest.raises(OSError, match="File too large"):
            writer.commit()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    writer.abort()
    assert [file.name for file in tmp_path.iterdir()] == ["0"]
    assert path.read_bytes() == before


def test_no_shard_has_no_index(tmp_path: Path) -> None:
    assert read_index(tmp_path / "0", 4) is None


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "0"
    write_shard(path, {0: b"abcd", 2: b"efgh"}, 3)
    whole = path.stat().st_size
    for size in reversed(range(whole)):
        os.truncate(path, size)
        with pytest.raises(StoreError, match="truncated"):
            read_index(path, 3)


def test_every_flipped_byte_of_the_index_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "0"
    write_shard(path, {0: b"abcd", 2: b"efgh"}, 3)
    whole = path.read_bytes()
    for place in range(16, len(whole)):  # after two chunks of 4 bytes with 4 of checksum
        damaged = bytearray(whole)
        damaged[place] ^= 0x40
        path.write_bytes(damaged)
        with pytest.raises(StoreError, match="fails its checksum"):
            read_index(path, 3)


@pytest.mark.parametrize("entry", [(0, 9), (1, 8), (10**15, 8), (2**64 - 4, 8)])
def test_an_index_that_points_past_the_end_is_refused(tmp_path: Path, entry: tuple[int, int]) -> None:
    """With a right checksum, as a foreign or hostile writer may have made it."""
    index = struct.pack("<QQ", *entry)
    (tmp_path / "0").write_bytes(b"abcd" + crc32c(b"abcd") + index + crc32c(index))
    with pytest.raises(StoreError, match="points past the file's end"):
        read_index(tmp_path / "0", 1)


def test_what_an_earlier_write_met_surfaces_and_abort_leaves_nothing(tmp_path: Path) -> None:
    """At a later put or at the commit, whichever the thread that writes comes to first."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for n_chunks in (1, 2, 9, 40):
        writer = ShardWriter(tmp_path / "0", 40)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
            with pytest.raises(OSError, match="File too large") as caught:
                put_and_commit(writer, n_chunks)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert caught.value.filename == str(tmp_path / "0")
        writer.abort()
        assert list(tmp_path.iterdir()) == []


def put_and_commit(writer: ShardWriter, n_chunks: int) -> None:
    for slot in range(n_chunks):
        writer.put(slot, b"n" * 600)
    writer.commit()


@pytest.mark.parametrize("n_chunks", [0, 1, 8, 9, 200])
def test_an_aborted_shard_leaves_neither_file_nor_thread(tmp_path: Path, n_chunks: int) -> None:
    before = threading.active_count()
    writer = ShardWriter(tmp_path / "0", 200)
    for slot in range(n_chunks):
        writer.put(slot, bytes(1000))
    writer.abort()
    writer.abort()
    assert list(tmp_path.iterdir()) == []
    assert threading.active_count() == before


def test_a_committed_shard_leaves_no_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    write_shard(tmp_path / "0", {slot: bytes(1000) for slot in range(40)}, 40)
    assert threading.active_count() == before
