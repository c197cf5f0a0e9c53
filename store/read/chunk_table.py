"""The positions of all chunks of a sharded array: shard indexes, parsed once and kept as one table."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mmcache.store.format.shard_file import CRC_BYTES, EMPTY
from mmcache.store.format.shards import ShardGrid
from mmcache.store.ground.errors import StoreError

ABSENT = -1  # no chunk: readers return the fill value
_UNKNOWN = -2  # the shard's index has not been read
_WRONG_SIZE = -3


class ChunkTable:
    """Offsets of chunks in their shard files.

    Args:
        chunk_bytes: of every chunk, without its checksum.
        load: shard -> its index (see shard_file.parse_index), or None when it has no file.
    """

    def __init__(
        self, grid: ShardGrid, chunk_bytes: int, load: Callable[[int], NDArray[np.uint64] | None], where: object
    ) -> None:
        self._grid = grid
        self._stored_bytes = chunk_bytes + CRC_BYTES
        self._load = load
        self._where = where
        self.clear()

    def clear(self) -> None:
        """Discard all indexes: the next `locate` reads them again."""
        self._offsets = np.full((self._grid.n_shards, self._grid.slots_per_shard), _UNKNOWN, np.int64)

    def locate(
        self, rows: NDArray[np.int64], views: int | NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(shard, offset) of the chunk of each row and view, ABSENT where there is none.

        Raises:
            StoreError: an index is damaged, or a chunk has another size than the array's.
        """
        shards, slots = self._grid.locate(rows, views)
        offsets = self._offsets[shards, slots]
        if offsets.size and offsets.min() < ABSENT:
            for shard in np.unique(shards[offsets == _UNKNOWN]).tolist():
                self._read(shard)
            offsets = self._offsets[shards, slots]
            if offsets.min() == _WRONG_SIZE:
                shard = int(shards[offsets == _WRONG_SIZE][0])
                expected = f"expected {self._stored_bytes} bytes"
                raise StoreError(f"shard {shard} of {self._where} has a chunk of another size, {expected}")
        return shards, offsets

    def _read(self, shard: int) -> None:
        index = self._load(shard)
        if index is None:
            self._offsets[shard] = ABSENT
            return
        offsets, sizes = index.T
        fits = np.where(sizes == self._stored_bytes, offsets.astype(np.int64), _WRONG_SIZE)
        self._offsets[shard] = np.where(offsets == EMPTY, ABSENT, fits)
