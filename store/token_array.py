"""Read cached tokens: straight from the shard files where their bytes allow it, else through zarr-python.

An uncompressed inner chunk is its array's bytes, so a batch is gathered with one `preadv` a segment into a
buffer the caller may reuse. Compressed or foreign arrays take zarr's own path and give the same result.
"""

import os
import resource
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from mmcache.store.errors import StoreError
from mmcache.store.fingerprint import Fingerprint
from mmcache.store.shard_file import CRC_BYTES, EMPTY, crc32c, read_index
from mmcache.store.shards import ShardGrid, normalise_rows

_MAX_FILES = 512


class TokenArray:
    """Tokens of one modality from one encoder.

    Attributes:
        shape: (N, V, T, D) segments, views, tokens, width.
        dtype: the stored dtype.
        modality, encoder: where it lies, tokens/<modality>/<encoder>.
    """

    def __init__(self, root: Path, modality: str, encoder: str) -> None:
        self.modality = modality
        self.encoder = encoder
        self.path = root / "tokens" / modality / encoder
        try:
            self._array = zarr.open_array(self.path, mode="r")
        except Exception as error:  # zarr raises many kinds here; all mean the same to a user
            raise StoreError(f"{self.path} cannot be opened as a Zarr array: {error}") from error
        if self._array.ndim != 4:
            raise StoreError(f"{self.path} has shape {self._array.shape}; tokens are (N, V, T, D)")
        self.shape: tuple[int, int, int, int] = tuple(self._array.shape)  # type: ignore[assignment]
        self.dtype = np.dtype(self._array.dtype)
        self.grid = ShardGrid(self.shape[0], (self._array.shards or self._array.chunks)[0], self.shape[1])
        self._chunk_bytes = self.shape[2] * self.shape[3] * self.dtype.itemsize
        self.is_direct = _is_direct(self._array)
        self._fill_value = self._array.fill_value
        self._indexes: dict[int, NDArray[np.uint64] | None] = {}  # None = the shard has no file
        self._files: OrderedDict[int, int] = OrderedDict()  # shard -> descriptor, the latest used last

    def __repr__(self) -> str:
        return f"TokenArray({self.modality}/{self.encoder}, {self.shape}, {self.dtype})"

    @property
    def name(self) -> str:
        return f"{self.modality}/{self.encoder}"

    @property
    def fingerprint(self) -> Fingerprint:
        return Fingerprint.from_attributes(dict(self._array.attrs))

    @property
    def attributes(self) -> dict[str, Any]:
        return dict(self._array.attrs)

    def read_checked(self, rows: NDArray[np.integer], view: int = 0) -> NDArray[np.floating]:
        """As `read`, but with checksums compared: for tokens that are written elsewhere, where no one could tell."""
        tokens = self.read(rows, view)
        if self.is_direct:  # zarr compares them by itself
            shards, slots = self.grid.locate(normalise_rows(rows, self.shape[0]), view)
            for row, shard, slot, value in zip(rows, shards.tolist(), slots.tolist(), tokens, strict=True):
                index = self._index(shard)
                if index is not None and index[slot, 0] != EMPTY:
                    end = int(index[slot].sum())
                    if os.pread(self._file(shard), CRC_BYTES, end - CRC_BYTES) != crc32c(value.data.cast("B")):
                        raise StoreError(
                            f"the tokens of row {row} in {self.path} fail their checksum; run `mmcache store verify`"
                        )
        return tokens

    def read(self, rows: NDArray[np.integer], view: int = 0, out: NDArray[Any] | None = None) -> NDArray[np.floating]:
        """Gather the tokens of `rows`.

        Args:
            rows: (n,) row numbers, in any order, repeated or negative ones allowed.
            view: which cached view; 0 is the centre view.
            out: (n, T, D) buffer of the stored dtype, filled in place and returned.

        Returns:
            (n, T, D) in the stored dtype; rows without cached tokens have the fill value, zero in our stores.

        Raises:
            IndexError: a row or the view is out of range.
            StoreError: a shard file is damaged.
        """
        rows = normalise_rows(rows, self.shape[0])
        if not 0 <= view < self.shape[1]:
            raise IndexError(f"view {view} is outside the {self.shape[1]} cached views of {self.name}")
        shape = (len(rows), *self.shape[2:])
        if out is None:
            out = np.empty(shape, self.dtype)
        elif out.shape != shape or out.dtype != self.dtype or not out.flags.c_contiguous:
            raise ValueError(
                f"out must be a C-contiguous {self.dtype} array of shape {shape}, got {out.dtype} {out.shape}"
            )
        if not self.is_direct:
            return self._read_with_zarr(rows, view, out)
        if len(rows):
            self._read_direct(rows, view, out)
        return out

    def _read_direct(self, rows: NDArray[np.int64], view: int, out: NDArray[Any]) -> None:
        shards, slots = self.grid.locate(rows, view)
        flat = out.reshape(-1).view(np.uint8).data
        size = self._chunk_bytes
        for i, (shard, slot) in enumerate(zip(shards.tolist(), slots.tolist(), strict=True)):
            index = self._index(shard)
            if index is None or index[slot, 0] == EMPTY:
                out[i] = self._fill_value
                continue
            file = self._file(shard)
            offset, stored = index[slot].tolist()
            if stored != size + CRC_BYTES:
                raise StoreError(
                    f"shard {shard} of {self.path} has a chunk of {stored} bytes, expected {size + CRC_BYTES}"
                )
            target = flat[i * size : (i + 1) * size]
            done = os.preadv(file, [target], offset)
            while done < size:  # the kernel may deliver less than was asked
                more = os.preadv(file, [target[done:]], offset + done)
                if more == 0:
                    raise StoreError(f"shard {shard} of {self.path} ends inside a chunk: the file was truncated")
                done += more

    def _read_with_zarr(self, rows: NDArray[np.int64], view: int, out: NDArray[Any]) -> NDArray[Any]:
        # One row at a time: fancy indexing across shards would decode whole shards for a few rows.
        try:
            for i, row in enumerate(rows.tolist()):
                out[i] = self._array[row, view]
        except Exception as error:  # zarr and its codecs raise many kinds here; all mean the same to a user
            raise StoreError(f"{self.path} cannot be read ({error}); the store is damaged there") from error
        return out

    def _index(self, shard: int) -> NDArray[np.uint64] | None:
        """The parsed index of a shard, or None when it has no file; the file is opened on the way."""
        if shard not in self._indexes:
            path = self.shard_path(shard)
            self._indexes[shard] = read_index(path, self.grid.slots_per_shard)
        return self._indexes[shard]

    def _file(self, shard: int) -> int:
        """The open file of a shard. Only so many are open at a time: a process may have few to spend."""
        if shard in self._files:
            self._files.move_to_end(shard)
            return self._files[shard]
        allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        while len(self._files) >= min(_MAX_FILES, max(1, allowed // 32)):
            os.close(self._files.popitem(last=False)[1])
        self._files[shard] = os.open(self.shard_path(shard), os.O_RDONLY)
        return self._files[shard]

    def shard_path(self, shard: int) -> Path:
        return self.path / "c" / str(shard) / "0" / "0" / "0"

    def close(self) -> None:
        """Close the shard files; the next read opens them again, and sees shards rewritten since."""
        while self._files:
            os.close(self._files.popitem()[1])
        self._indexes.clear()

    def __del__(self) -> None:
        if hasattr(self, "_files"):
            self.close()


def _is_direct(array: Any) -> bool:
    """Whether chunks can be read by offset: sharded, one segment a chunk, `bytes` + `crc32c`, index at the end."""
    document = array.metadata.to_dict()
    codecs = [dict(codec) for codec in document["codecs"]]
    if len(codecs) != 1 or codecs[0]["name"] != "sharding_indexed":
        return False
    sharding = codecs[0]["configuration"]
    _, views, tokens, width = array.shape
    keys = document["chunk_key_encoding"]
    return (
        keys["name"] == "default"
        and keys.get("configuration", {}).get("separator", "/") == "/"
        and tuple(sharding["chunk_shape"]) == (1, 1, tokens, width)
        and tuple(array.shards[1:]) == (views, tokens, width)
        and _named(sharding["codecs"]) == ["bytes:little", "crc32c"]
        and _named(sharding["index_codecs"]) == ["bytes:little", "crc32c"]
        and sharding.get("index_location", "end") == "end"
    )


def _named(codecs: Any) -> list[str]:
    out = []
    for codec in codecs:
        codec = dict(codec) if not hasattr(codec, "to_dict") else codec.to_dict()
        endian = codec.get("configuration", {}).get("endian")
        out.append(f"{codec['name']}:{getattr(endian, 'value', endian)}" if endian else codec["name"])
    return out
