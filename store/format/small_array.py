"""Small arrays (presence, lengths, rounding errors): read whole, written one chunk per shard of the tokens."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcache.store.files.atomic import atomic_write
from mmcache.store.format.array_metadata import ArrayMetadata, read_array
from mmcache.store.format.layout import Presence
from mmcache.store.format.location import unreachable
from mmcache.store.format.shard_file import CRC_BYTES, crc32c
from mmcache.store.ground.errors import StoreError

PRESENCE_VALUES = [int(value) for value in Presence]
_DAMAGED = "the store is damaged there. `mmcache store verify --repair` repairs it"


def read_small_array(path: Path, kind: str) -> NDArray[Any]:
    """All of the array at `path`, a `kind` of array_metadata.KINDS. Raises StoreError when missing or damaged."""
    try:
        found = (path / "zarr.json").exists()
    except Exception as error:  # at an address: file systems raise many kinds here
        raise unreachable(path, error) from error
    if not found:
        raise StoreError(f"{path} is missing; {_DAMAGED}")
    return read_values(read_array(path, kind))


def read_values(array: ArrayMetadata) -> NDArray[Any]:
    """All of a small array. Raises StoreError when a chunk is damaged, or presence has an unknown value."""
    try:
        values = np.asarray(array.array[:])
    except Exception as error:  # zarr raises many kinds here; all mean the same to a user
        raise StoreError(f"{array.path} cannot be read ({error}); {_DAMAGED}") from error
    if array.kind == "present" and not np.isin(values, PRESENCE_VALUES).all():
        wrong = np.flatnonzero(~np.isin(values, PRESENCE_VALUES))
        raise StoreError(
            f"{array.path} says {values[wrong[0]]} for row {wrong[0]} ({len(wrong)} such); presence is one of "
            f"{', '.join(map(str, PRESENCE_VALUES))}. {_DAMAGED.capitalize()}"
        )
    return values


def impossible_values(kind: str, values: NDArray[Any], tokens: int) -> NDArray[np.bool_]:
    """(N, V) bool, values that no cached segment can have: a length outside 1..`tokens`, an error outside 0..1."""
    if kind == "length":
        return (values < 1) | (values > tokens)
    return ~(np.isfinite(values) & (values >= 0))


def write_chunk(path: Path, data: NDArray[Any]) -> None:
    """Write one chunk: its bytes and their crc32c."""
    raw = data.tobytes()
    atomic_write(path, raw + crc32c(raw))


def chunk_is_sound(path: Path) -> bool:
    """Whether a chunk file passes its checksum."""
    raw = path.read_bytes()
    return len(raw) > CRC_BYTES and crc32c(raw[:-CRC_BYTES]) == raw[-CRC_BYTES:]
