"""Three readers of the chunks of a sharded array; all return the same bytes.

LocalReader    uncompressed shards on a disk: one preadv a chunk, straight into the caller's buffer
RangeReader    uncompressed shards at an address: all of a batch's byte ranges at once
LibraryReader  everything else (compressed, unsharded, another chunk grid): tensorstore where it is installed and knows
               the codecs (four times faster here on zstd), else zarr-python
"""

import os
import resource
import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mmcache.store.format.location import is_remote, unreachable
from mmcache.store.format.shard_file import CRC_BYTES, crc32c, index_bytes, parse_index, read_index, shard_path
from mmcache.store.format.shards import ShardGrid
from mmcache.store.ground.errors import StoreError
from mmcache.store.read.chunk_table import ABSENT, ChunkTable
from mmcache.store.read.gather import gather

_MAX_FILES = 512


class Reader(Protocol):
    """Fills out[i] with the chunk of rows[i] and views[i]; rows are in range, `out` is contiguous and fits."""

    def read(
        self,
        rows: NDArray[np.int64],
        views: NDArray[np.int64],
        out: NDArray[Any],
        check: bool,
        expected: NDArray[np.bool_] | None,
    ) -> None:
        """Read the chunks into `out`. Raises StoreError on damage.

        Args:
            check: compare checksums, of the expected rows if `expected` is given, else of all.
            expected: (n,) bool, the rows that must have a chunk; None = no row must.
        """

    def close(self) -> None:
        """Close files and discard cached indexes."""


def refuse_missing_tokens(
    path: Any, rows: NDArray[np.int64], absent: NDArray[np.bool_], expected: NDArray[np.bool_] | None
) -> None:
    """Raise StoreError when expected rows have no chunk."""
    if expected is not None and (absent & expected).any():
        lacking = rows[absent & expected]
        raise StoreError(
            f"{path} lacks tokens of row {lacking[0]} ({len(lacking)} such), which presence lists as cached; "
            "run `mmcache store verify --repair`"
        )


class LocalReader:
    """Chunks of shard files on a disk. A lock serialises reads of one array, because each uses all threads."""

    def __init__(self, path: Path, grid: ShardGrid, chunk_bytes: int, fill_value: Any) -> None:
        self._path, self._chunk_bytes, self._fill_value = path, chunk_bytes, fill_value
        load = lambda shard: read_index(shard_path(path, shard), grid.slots_per_shard)  # noqa: E731
        self._table = ChunkTable(grid, chunk_bytes, load, path)
        self._files: OrderedDict[int, int] = OrderedDict()  # shard -> descriptor, in the order of last use
        self._lock = threading.Lock()

    def read(
        self,
        rows: NDArray[np.int64],
        views: NDArray[np.int64],
        out: NDArray[Any],
        check: bool,
        expected: NDArray[np.bool_] | None,
    ) -> None:
        with self._lock:
            shards, offsets = self._table.locate(rows, views)
            flat, size = out.reshape(-1).view(np.uint8).data, self._chunk_bytes
            places = range(0, len(rows) * size, size)
            doubted = np.full(len(rows), check) if expected is None else expected & check
            if offsets.size and offsets.min() == ABSENT:
                refuse_missing_tokens(self._path, rows, offsets == ABSENT, expected)
                out[offsets == ABSENT] = self._fill_value
                there = np.flatnonzero(offsets != ABSENT)
                shards, offsets, doubted = shards[there], offsets[there], doubted[there]
                places = (there * size).tolist()  # type: ignore[assignment]
            targets = [flat[place : place + size] for place in places]
            try:
                for part in self._parts(shards):
                    files = [self._files[shard] for shard in shards[part].tolist()]
                    gather(targets[part], files, offsets[part].tolist())
                    if check:
                        self._check(targets[part], files, offsets[part].tolist(), doubted[part])
            except StoreError as error:
                raise StoreError(f"a shard of {self._path} {error}; run `mmcache store verify --repair`") from None

    def _parts(self, shards: NDArray[np.int64]) -> Iterator[slice]:
        """Open the files of `shards` and yield slices whose files are open together: usually one slice of all."""
        wanted = dict.fromkeys(shards.tolist())
        limit = min(_MAX_FILES, max(1, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 32))
        if len(wanted) <= limit:
            for shard in wanted:
                self._open(shard, limit)
            yield slice(0, len(shards))
            return
        for i, shard in enumerate(shards.tolist()):
            self._open(shard, limit)
            yield slice(i, i + 1)

    def _open(self, shard: int, limit: int) -> None:
        if shard in self._files:
            self._files.move_to_end(shard)
            return
        while len(self._files) >= limit:
            os.close(self._files.popitem(last=False)[1])
        try:
            self._files[shard] = os.open(shard_path(self._path, shard), os.O_RDONLY)
        except FileNotFoundError as error:  # removed after its index was read
            raise StoreError(f"{error.filename} is gone; open the store again") from error

    def _check(
        self, targets: list[memoryview], files: list[int], offsets: list[int], doubted: NDArray[np.bool_]
    ) -> None:
        for i in np.flatnonzero(doubted).tolist():
            if os.pread(files[i], CRC_BYTES, offsets[i] + self._chunk_bytes) != crc32c(targets[i]):
                raise StoreError("has tokens that fail their checksum")

    def close(self) -> None:
        with self._lock:
            while self._files:
                os.close(self._files.popitem()[1])
            self._table.clear()


class RangeReader:
    """Chunks of shard files at an address. Checksums are always compared: they cost less than the network."""

    def __init__(self, path: Any, grid: ShardGrid, chunk_bytes: int, fill_value: Any) -> None:
        self._path, self._chunk_bytes, self._fill_value = path, chunk_bytes, fill_value
        self._fs = path.fs
        self._slots = grid.slots_per_shard
        self._table = ChunkTable(grid, chunk_bytes, self._load, path)

    def _file(self, shard: int) -> str:
        return shard_path(self._path, shard).path  # type: ignore[attr-defined]

    def _load(self, shard: int) -> NDArray[np.uint64] | None:
        path = self._file(shard)
        try:
            size = int(self._fs.size(path))
            start = max(0, size - index_bytes(self._slots))
            return parse_index(self._fs.cat_file(path, start=start, end=size), self._slots, size, path)
        except FileNotFoundError as error:
            # Over http, a server that does not answer looks the same as a file that is not there.
            if not (self._path / "zarr.json").exists():
                raise unreachable(self._path, error) from error
            return None
        except StoreError:
            raise
        except Exception as error:
            raise unreachable(self._path, error) from error

    def read(
        self,
        rows: NDArray[np.int64],
        views: NDArray[np.int64],
        out: NDArray[Any],
        check: bool,
        expected: NDArray[np.bool_] | None,
    ) -> None:
        shards, offsets = self._table.locate(rows, views)
        refuse_missing_tokens(self._path, rows, offsets == ABSENT, expected)
        out[offsets == ABSENT] = self._fill_value
        there = np.flatnonzero(offsets != ABSENT)
        starts = offsets[there].tolist()
        paths = [self._file(shard) for shard in shards[there].tolist()]
        ends = [start + self._chunk_bytes + CRC_BYTES for start in starts]
        try:
            raws = self._fs.cat_ranges(paths, starts, ends, on_error="raise")
        except Exception as error:  # file systems of networks raise many kinds of exceptions
            raise unreachable(self._path, error) from error
        for i, raw in zip(there.tolist(), raws, strict=True):
            if len(raw) != self._chunk_bytes + CRC_BYTES or crc32c(raw[:-CRC_BYTES]) != raw[-CRC_BYTES:]:
                if expected is not None and not expected[i]:  # not cached, so its tokens are not used
                    out[i] = self._fill_value
                    continue
                raise StoreError(f"the tokens of row {rows[i]} in {self._path} fail their checksum")
            out[i] = np.frombuffer(raw, out.dtype, count=out[i].size).reshape(out[i].shape)

    def close(self) -> None:
        self._table.clear()


class LibraryReader:
    """Any 4-dimensional Zarr array, through a library. The library compares checksums if the array has any."""

    def __init__(self, path: Any, array: Any) -> None:
        self._path, self._array = path, array
        self._tensorstore = None if is_remote(path) else _open_tensorstore(path)
        self._process = os.getpid()

    def read(
        self,
        rows: NDArray[np.int64],
        views: NDArray[np.int64],
        out: NDArray[Any],
        check: bool,
        expected: NDArray[np.bool_] | None,
    ) -> None:
        try:
            # The threads of tensorstore do not survive a fork, which DataLoader workers use.
            if self._tensorstore is not None and os.getpid() == self._process:
                out[...] = self._tensorstore[rows, views].read().result()
                return
            # One row at a time: zarr's fancy indexing across shards decodes whole shards for a few rows.
            for i, (row, view) in enumerate(zip(rows.tolist(), views.tolist(), strict=True)):
                out[i] = self._array[row, view]
        except Exception as error:  # the libraries and their codecs raise many kinds here; all mean the same to a user
            raise StoreError(f"{self._path} cannot be read ({error}); the store is damaged there") from error

    def close(self) -> None:
        pass


def _open_tensorstore(path: Path) -> Any:
    """The array opened by tensorstore, or None when it is not installed or does not support the codecs."""
    try:
        import tensorstore
    except ImportError:
        return None
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path.absolute())}}
    try:
        return tensorstore.open(spec, read=True, open=True).result()
    except ValueError:
        return None
