"""Read and write one shard file of the Zarr v3 `sharding_indexed` codec.

    chunk | crc32c | chunk | crc32c | ... | index | crc32c

The index holds (offset, nbytes) as little-endian uint64 for every slot, both 2^64 - 1 where there is no
chunk. An uncompressed chunk is the bytes of its array, so it can be read by offset into the
caller's buffer. zarr-python writes the same files; tests read the files of each with the other.
"""

import contextlib
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from mmcache.store.files.atomic import fsync_folder, temporary_beside
from mmcache.store.ground.errors import StoreError

EMPTY = np.uint64(2**64 - 1)
CRC_BYTES = 4
_IN_FLIGHT = 8  # chunks handed over and not yet written
# Written at a time: the page cache keeps large writes in large folios, out of which reading is half as fast again.
# Flushed as often, so that the last flush is short.
_BLOCK_BYTES = 16 << 20
_MAX_PIECES = 1024  # IOV_MAX


def crc32c(data: bytes | memoryview) -> bytes:
    """The four checksum bytes of Zarr's crc32c codec."""
    # The library takes arrays but no memoryviews; frombuffer wraps without copying.
    return google_crc32c.value(np.frombuffer(data, np.uint8)).to_bytes(CRC_BYTES, "little")


def shard_path(array: Path, shard: int) -> Path:
    """The file of a shard of a (N, V, T, D) array, whose shards are cut along N only."""
    return array / "c" / str(shard) / "0" / "0" / "0"


def index_bytes(n_slots: int) -> int:
    """Bytes of a shard's index with its checksum: the end of the file."""
    return n_slots * 16 + CRC_BYTES


def parse_index(raw: bytes, n_slots: int, file_bytes: int, where: object) -> NDArray[np.uint64]:
    """Check the last index_bytes(n_slots) bytes of a shard of `file_bytes` and return what they say.

    Returns:
        (n_slots, 2) offsets and byte counts (chunk plus checksum).

    Raises:
        StoreError: the file is truncated or its index fails its checksum.
    """
    if file_bytes < index_bytes(n_slots):
        raise StoreError(f"shard {where} is truncated: {file_bytes} bytes, its index alone has {index_bytes(n_slots)}")
    body, checksum = raw[:-CRC_BYTES], raw[-CRC_BYTES:]
    if len(raw) != index_bytes(n_slots) or crc32c(body) != checksum:
        raise StoreError(f"the index of shard {where} fails its checksum: the file is damaged or truncated")
    index = np.frombuffer(body, "<u8").reshape(n_slots, 2)
    filled = index[:, 0] != EMPTY
    limit = np.uint64(file_bytes - index_bytes(n_slots))
    offsets, sizes = index[filled].T
    if ((offsets > limit) | (sizes > limit - np.minimum(offsets, limit))).any():  # a sum could overflow
        raise StoreError(f"the index of shard {where} points past the file's end: the file is damaged")
    return index


def read_index(path: Path, n_slots: int) -> NDArray[np.uint64] | None:
    """The index of a shard file (see parse_index), or None when there is no such file."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - index_bytes(n_slots)))
            return parse_index(file.read(index_bytes(n_slots)), n_slots, size, path)
    except FileNotFoundError:
        return None


class ShardWriter:
    """Writes one shard file from its chunks, in ascending slot order, then puts it in place atomically.

    A thread checksums, writes and flushes while the caller makes the next chunk. Bytes depend on the chunks alone,
    not on when or in how many runs they were made.
    """

    def __init__(self, path: Path, n_slots: int) -> None:
        self.path = path
        self._index = np.full((n_slots, 2), EMPTY, "<u8")
        self._offset = 0
        self._block: list[bytes] = []
        self._block_bytes = 0
        self._last = -1
        path.parent.mkdir(parents=True, exist_ok=True)
        self._temporary = temporary_beside(path)
        self._file = open(self._temporary, "wb", buffering=0)  # noqa: SIM115 - closed by commit or abort
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mmcache-write")
        self._pending: deque[Future[None]] = deque()

    def put(self, slot: int, chunk: bytes) -> None:
        """Append the chunk of `slot`, without its checksum. Raises the error of an earlier write, if any."""
        if slot <= self._last:
            raise ValueError(f"slots must ascend: {slot} after {self._last}")
        self._last = slot
        self._pending.append(self._thread.submit(self._write, slot, chunk))
        while len(self._pending) > _IN_FLIGHT:
            self._pending.popleft().result()

    def _write(self, slot: int, chunk: bytes) -> None:
        size = len(chunk) + CRC_BYTES
        self._index[slot] = self._offset, size
        self._offset += size
        self._block += [chunk, crc32c(chunk)]
        self._block_bytes += size
        if self._block_bytes >= _BLOCK_BYTES:
            self._flush()
            os.fdatasync(self._file.fileno())

    def _flush(self) -> None:
        """Write the buffered block."""
        pieces = [memoryview(piece) for piece in self._block]
        self._block, self._block_bytes = [], 0
        while pieces:
            try:
                done = os.writev(self._file.fileno(), pieces[:_MAX_PIECES])
            except OSError as error:  # the error has no file name
                raise OSError(error.errno, error.strerror, str(self.path)) from error
            while pieces and done >= len(pieces[0]):  # the kernel may write less than requested
                done -= len(pieces.pop(0))
            if done:
                pieces[0] = pieces[0][done:]

    def commit(self) -> None:
        """Write the index and replace `path`. As in Zarr, a shard without chunks has no file."""
        if self._last < 0:
            self.abort()
            self.path.unlink(missing_ok=True)
            return
        while self._pending:
            self._pending.popleft().result()
        self._thread.shutdown()
        body = self._index.tobytes()
        self._block += [body, crc32c(body)]
        self._flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._temporary, self.path)
        fsync_folder(self.path.parent)

    def abort(self) -> None:
        """Leave `path` as it was."""
        self._thread.shutdown(cancel_futures=True)
        self._pending.clear()
        with contextlib.suppress(OSError):
            self._file.close()
        self._temporary.unlink(missing_ok=True)
