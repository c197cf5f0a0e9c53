"""The bytes of one shard file, as the Zarr v3 `sharding_indexed` codec lays them out.

    chunk | crc32c | chunk | crc32c | ... | index | crc32c

The index holds (offset, nbytes) as little-endian uint64 for every slot, both 2^64 - 1 where there is no
chunk. Chunks are uncompressed, so a chunk IS its array's bytes: that is what makes reading by offset fast.
zarr-python writes the same files; the tests read ours with it and its with ours.
"""

import contextlib
import os
from pathlib import Path

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from mmcache.store.atomic import TEMPORARY_PREFIX, fsync_folder
from mmcache.store.errors import StoreError

EMPTY = np.uint64(2**64 - 1)
CRC_BYTES = 4


def crc32c(data: bytes | memoryview) -> bytes:
    """The four checksum bytes of Zarr's crc32c codec."""
    # The library takes arrays but no memoryviews; frombuffer wraps without copying.
    return google_crc32c.value(np.frombuffer(data, np.uint8)).to_bytes(CRC_BYTES, "little")


def read_index(path: Path, n_slots: int) -> NDArray[np.uint64] | None:
    """Parse and check a shard's index.

    Returns:
        (n_slots, 2) offsets and byte counts (chunk plus checksum), or None when there is no such shard.

    Raises:
        StoreError: the file is truncated or its index fails its checksum.
    """
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            index_bytes = n_slots * 16 + CRC_BYTES
            if size < index_bytes:
                raise StoreError(f"shard {path} is truncated: {size} bytes, its index alone has {index_bytes}")
            file.seek(size - index_bytes)
            raw = file.read(index_bytes)
    except FileNotFoundError:
        return None
    body, checksum = raw[:-CRC_BYTES], raw[-CRC_BYTES:]
    if crc32c(body) != checksum:
        raise StoreError(f"the index of shard {path} fails its checksum: the file is damaged or truncated")
    index = np.frombuffer(body, "<u8").reshape(n_slots, 2)
    filled = index[:, 0] != EMPTY
    limit = np.uint64(size - index_bytes)
    offsets, sizes = index[filled].T
    if ((offsets > limit) | (sizes > limit - np.minimum(offsets, limit))).any():  # a sum could overflow
        raise StoreError(f"the index of shard {path} points past the file's end: the file is damaged")
    return index


class ShardWriter:
    """Writes one shard file from its chunks, in ascending slot order, then puts it in place atomically.

    Bytes depend on the chunks alone, not on when or in how many runs they were made.
    """

    def __init__(self, path: Path, n_slots: int, chunk_bytes: int) -> None:
        self.path = path
        self._chunk_bytes = chunk_bytes
        self._index = np.full((n_slots, 2), EMPTY, "<u8")
        self._offset = 0
        self._last = -1
        path.parent.mkdir(parents=True, exist_ok=True)
        self._temporary = path.parent / f"{TEMPORARY_PREFIX}{os.getpid()}-{path.name}"
        self._file = open(self._temporary, "wb")  # noqa: SIM115 - closed by commit or abort

    def put(self, slot: int, chunk: NDArray | bytes) -> None:
        """Append the chunk of `slot`: an array, or its raw bytes without checksum."""
        data = memoryview(chunk if isinstance(chunk, bytes) else np.ascontiguousarray(chunk).data).cast("B")
        if data.nbytes != self._chunk_bytes:
            raise ValueError(f"chunk has {data.nbytes} bytes, this array's chunks have {self._chunk_bytes}")
        if slot <= self._last:
            raise ValueError(f"slots must ascend: {slot} after {self._last}")
        self._file.write(data)
        self._file.write(crc32c(data))
        self._index[slot] = self._offset, data.nbytes + CRC_BYTES
        self._offset += data.nbytes + CRC_BYTES
        self._last = slot

    def commit(self) -> None:
        """Write the index and take `path`'s place. A shard without chunks is no file, as Zarr has it."""
        if self._last < 0:
            self.abort()
            self.path.unlink(missing_ok=True)
            return
        body = self._index.tobytes()
        self._file.write(body + crc32c(body))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._temporary, self.path)
        fsync_folder(self.path.parent)

    def abort(self) -> None:
        """Leave `path` as it was."""
        with contextlib.suppress(OSError):  # closing writes what is buffered, which a full disk refuses
            self._file.close()
        self._temporary.unlink(missing_ok=True)
