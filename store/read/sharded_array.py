"""A (N, V, T, D) Zarr array with one chunk per segment and view: tokens, or scales of int8 tokens."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcache.store.format.array_metadata import ArrayMetadata
from mmcache.store.format.location import is_remote
from mmcache.store.format.shard_file import shard_path
from mmcache.store.format.shards import ShardGrid, normalise_rows
from mmcache.store.read.chunk_readers import LibraryReader, LocalReader, RangeReader, Reader


class ShardedArray:
    """One array, open for reading.

    Attributes:
        shape: (N, V, T, D) segments, views, tokens, width.
        dtype: the stored dtype.
        is_direct: whether chunks are read by their offsets, not through zarr.
        verified: (N, V) bool, chunks whose checksum was compared since the array was opened, and matched.
    """

    def __init__(self, metadata: ArrayMetadata) -> None:
        self.path = metadata.path
        self.metadata = metadata
        segments, views, tokens, width = metadata.shape
        self.shape = (segments, views, tokens, width)
        self.dtype = metadata.dtype
        self.grid = ShardGrid(segments, metadata.grid[0], views)
        self.is_direct = metadata.is_direct
        self.verified = np.zeros(self.shape[:2], bool)
        self._reader: Reader
        if self.is_direct:
            make = RangeReader if is_remote(self.path) else LocalReader
            self._reader = make(self.path, self.grid, self.chunk_bytes, metadata.fill_value)
        else:
            self._reader = LibraryReader(self.path, metadata.array)

    @property
    def name(self) -> str:
        """Modality and encoder."""
        return "/".join(self.path.parts[-2:])

    @property
    def chunk_bytes(self) -> int:
        """Bytes of one segment and view."""
        return self.shape[2] * self.shape[3] * self.dtype.itemsize

    def shard_path(self, shard: int) -> Path:
        return shard_path(self.path, shard)

    def read(
        self,
        rows: NDArray[np.integer],
        view: int | NDArray[np.integer] = 0,
        out: NDArray[Any] | None = None,
        *,
        check: bool = False,
        expected: NDArray[np.bool_] | None = None,
    ) -> NDArray[Any]:
        """Gather the chunks of `rows`.

        Args:
            rows: (n,) row numbers, in any order, repeated or negative ones allowed.
            view: which cached view, of all rows or (n,) of each; 0 is the centre view.
            out: (n, T, D) buffer of the stored dtype, filled in place and returned.
            check: compare checksums, of the expected rows if `expected` is given, else of all.
            expected: (n,) bool, the rows that must have a chunk: those that presence lists as cached.

        Returns:
            (n, T, D) in the stored dtype; rows without a chunk have the fill value, zero in stores of mmcache.

        Raises:
            IndexError: a row or the view is out of range.
            ValueError: `out` does not fit.
            StoreError: a shard is damaged.
        """
        rows = normalise_rows(rows, self.shape[0])
        views = np.broadcast_to(np.asarray(view, np.int64), rows.shape)
        outside = views[(views < 0) | (views >= self.shape[1])]
        if len(outside):
            raise IndexError(f"view {outside[0]} is outside the {self.shape[1]} cached views of {self.name}")
        shape = (len(rows), *self.shape[2:])
        if out is None:
            out = np.empty(shape, self.dtype)
        elif out.shape != shape or out.dtype != self.dtype or not out.flags.c_contiguous:
            raise ValueError(
                f"out must be a C-contiguous {self.dtype} array of shape {shape}, got {out.dtype} {out.shape}"
            )
        if len(rows):
            if check and expected is None:
                expected = np.ones(len(rows), bool)
            self._reader.read(rows, views, out, check, expected)
            if check:
                self.verified[rows, views] = True
        return out

    def close(self) -> None:
        """Close the shard files; the next read opens them again and reads shards that were rewritten."""
        self.verified[:] = False
        self._reader.close()

    def __del__(self) -> None:
        if hasattr(self, "_reader"):
            self.close()
