"""Index arithmetic: which shard and slot hold a row. No function here touches a disk."""

import dataclasses

import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True)
class ShardGrid:
    """The division of N rows with V views into shards of R rows. Slots of a shard are in C order: row, then view."""

    n_rows: int
    rows_per_shard: int
    n_views: int = 1

    @property
    def n_shards(self) -> int:
        return -(-self.n_rows // self.rows_per_shard)

    @property
    def slots_per_shard(self) -> int:
        """Chunks in a shard's index; the last shard has as many; those past row N are empty."""
        return self.rows_per_shard * self.n_views

    def rows(self, shard: int) -> range:
        """The rows of one shard; the last shard may hold fewer than `rows_per_shard`."""
        start = shard * self.rows_per_shard
        return range(start, min(start + self.rows_per_shard, self.n_rows))

    def locate(
        self, rows: NDArray[np.int64], views: int | NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(shard, slot) of the chunk of each row and view."""
        rows = np.array(rows, np.int64)
        return rows // self.rows_per_shard, (rows % self.rows_per_shard) * self.n_views + views

    def shards_of(self, rows: NDArray[np.integer]) -> NDArray[np.int64]:
        """The shards that hold any of `rows`, ascending."""
        return np.unique(np.asarray(rows, np.int64) // self.rows_per_shard)


def rows_per_shard(row_bytes: int, n_rows: int, target_bytes: int) -> int:
    """How many rows make a shard of about `target_bytes`: at least 1, at most all."""
    return max(1, min(n_rows, round(target_bytes / row_bytes)))


def normalise_rows(rows: NDArray[np.integer], n_rows: int) -> NDArray[np.int64]:
    """Turn negative row numbers into positive ones. Raises IndexError for rows outside of n_rows."""
    given = np.asarray(rows)
    if given.ndim != 1:
        raise IndexError(f"rows must be one-dimensional, got shape {given.shape}")
    if given.size and given.dtype.kind not in "iu":
        raise IndexError(f"rows must be integers, got {given.dtype} (np.flatnonzero turns a mask into row numbers)")
    rows = given.astype(np.int64)
    bad = (rows < -n_rows) | (rows >= n_rows)
    if bad.any():
        raise IndexError(f"row {rows[bad][0]} is outside the store's {n_rows} rows")
    return np.where(rows < 0, rows + n_rows, rows)
