"""The small arrays beside tokens (presence, lengths, rounding errors): read whole, written a chunk a shard."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcache.store.atomic import atomic_write
from mmcache.store.errors import StoreError
from mmcache.store.layout import read_attributes
from mmcache.store.location import open_zarr, unreachable
from mmcache.store.shard_file import CRC_BYTES, crc32c


def read_small_array(path: Path) -> NDArray[Any]:
    """All of an array. Raises StoreError when it is missing or damaged."""
    try:
        found = (path / "zarr.json").exists()
    except Exception as error:  # at an address: file systems raise many kinds here
        raise unreachable(path, error) from error
    if not found:
        raise StoreError(f"{path} is missing; the store is damaged there. `mmcache store verify --repair` mends it")
    read_attributes(path)  # compares the seal
    try:
        return np.asarray(open_zarr(path)[:])
    except Exception as error:  # zarr raises many kinds here; all mean the same to a user
        raise StoreError(
            f"{path} cannot be read ({error}); the store is damaged there. `mmcache store verify --repair` mends it"
        ) from error


def write_chunk(path: Path, data: NDArray[Any]) -> None:
    """One chunk: its bytes and their crc32c."""
    raw = data.tobytes()
    atomic_write(path, raw + crc32c(raw))


def chunk_is_sound(path: Path) -> bool:
    """Whether a chunk file passes its checksum."""
    raw = path.read_bytes()
    return len(raw) > CRC_BYTES and crc32c(raw[:-CRC_BYTES]) == raw[-CRC_BYTES:]
