"""Read the zarr.json of an array and check it before any memory is allocated.

zarr-python parses the documents, so arrays of other programs are read too: compressed, unsharded or with chunks of
other sizes. The kind of an array (see KINDS) determines its dtype, its dimensions and its fill value.
"""

import dataclasses
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mmcache.store.files.sealed import SEAL
from mmcache.store.format.layout import SIDE_ARRAYS, TOKEN_DTYPES, Presence, read_document
from mmcache.store.format.location import open_zarr
from mmcache.store.ground.errors import StoreError
from mmcache.store.ground.text import excerpt

_MAX_VIEWS = 1 << 16
_MAX_CHUNK_BYTES = 1 << 30  # of one segment and view: half a million tokens of width 1024 in float16
_MAX_SLOTS = 1 << 22  # chunks of a shard, whose index then has 64 MiB


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of array in a store.

    Attributes:
        axes: a letter for each dimension: N segments, V views, T tokens, D width, S subsets, C classes.
        fill: the value where there is no chunk; None = any number.
    """

    axes: str
    dtypes: tuple[str, ...]
    fill: float | None


KINDS = {
    "tokens": Kind("NVTD", (*TOKEN_DTYPES, "float64"), None),  # float64: from other programs
    "scale": Kind("NVTD", ("float32",), None),
    "present": Kind("N", ("uint8",), int(Presence.TO_DO)),
    "logits": Kind("NVSC", ("float16",), math.nan),
    **{name: Kind("NV", (spec.dtype,), spec.fill_value) for name, spec in SIDE_ARRAYS.items()},
}


@dataclasses.dataclass(frozen=True)
class ArrayMetadata:
    """An array as its zarr.json describes it.

    Attributes:
        kind: a key of KINDS.
        array: zarr's own object, which reads any layout.
        grid: the shape of the shard (or chunk, if unsharded) in one file.
        is_direct: whether its chunks can be read by their offsets: sharded, one segment and view a chunk, each shard
            with all views of its segments, `bytes` + `crc32c`, the index at the end.
        is_plain: whether each file is one uncompressed chunk with its crc32c.
    """

    path: Path
    kind: str
    array: Any
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...]
    grid: tuple[int, ...]
    fill_value: Any
    attributes: dict[str, Any]
    is_direct: bool
    is_plain: bool

    @property
    def chunk_bytes(self) -> int:
        """Bytes of one chunk, uncompressed."""
        return math.prod(self.chunks) * self.dtype.itemsize

    def has_file(self, name: str) -> bool:
        """Whether a file of that name, relative to the array's folder, can be one of its shards or chunks."""
        keys = self.array.metadata.to_dict()["chunk_key_encoding"]
        is_default = keys["name"] == "default"
        separator = keys.get("configuration", {}).get("separator", "/" if is_default else ".")
        prefix = f"c{separator}" if is_default else ""
        places = name.removeprefix(prefix).split(separator)
        counts = [-(-size // step) for size, step in zip(self.shape, self.grid, strict=True)]
        return (
            name.startswith(prefix)
            and len(places) == len(counts)
            and all(place.isdecimal() and int(place) < count for place, count in zip(places, counts, strict=True))
        )

    def files(self) -> Iterator[str]:
        """The names of the chunk and shard files in the array's folder, without temporary files."""
        for folder, _, names in os.walk(self.path):
            for name in names:
                if not name.startswith(".") and name != "zarr.json":
                    yield str((Path(folder) / name).relative_to(self.path))


def read_array(path: Path, kind: str) -> ArrayMetadata:
    """Read and check the zarr.json of the array at `path`, a key of KINDS.

    Raises:
        StoreError: it is missing, damaged, no array, or not what an array of that kind can be.
    """
    document = read_document(path)
    where = f"{path}/zarr.json"
    _check_sizes(where, document, KINDS[kind])
    try:
        array = open_zarr(path)
        shape, dtype, fill = tuple(array.shape), np.dtype(array.dtype), array.fill_value
        chunks, grid = tuple(array.chunks), tuple(array.shards or array.chunks)
        is_direct, is_plain = _is_direct(array), _is_plain(array)
    except Exception as error:  # zarr raises many kinds here; all mean the same to a user
        said = " ".join(str(error).split())[:300] or type(error).__name__
        raise StoreError(f"{path} cannot be opened as a Zarr array: {said}") from error
    _check_kind(where, KINDS[kind], dtype, fill)
    attributes = {key: value for key, value in document["attributes"].items() if key != SEAL}
    found = ArrayMetadata(path, kind, array, shape, dtype, chunks, grid, fill, attributes, is_direct, is_plain)
    _check_chunks(where, KINDS[kind], found)
    return found


def _check_sizes(where: str, document: dict[str, Any], kind: Kind) -> None:
    """Check the declared shape, before zarr computes with it."""
    shape = document.get("shape")
    if not isinstance(shape, list) or not all(type(size) is int for size in shape):
        raise StoreError(f"{where} has the shape {excerpt(shape)}, not a list of whole numbers")
    if len(shape) != len(kind.axes):
        raise StoreError(f"{where} has the shape {tuple(shape)}; it must be ({', '.join(kind.axes)})")
    sizes = dict(zip(kind.axes, shape, strict=True))
    if sizes.pop("N") < 0 or min(sizes.values(), default=1) < 1:
        raise StoreError(f"{where} has the shape {tuple(shape)}; every size must be at least 1")
    views = sizes.pop("V", 1)
    if views > _MAX_VIEWS or math.prod(sizes.values()) > _MAX_CHUNK_BYTES:
        raise StoreError(
            f"{where} has the shape {tuple(shape)}; at most {_MAX_VIEWS} views and "
            f"{_MAX_CHUNK_BYTES >> 30} GiB a segment and view are read"
        )


def _check_kind(where: str, kind: Kind, dtype: "np.dtype[Any]", fill: Any) -> None:
    if dtype.name not in kind.dtypes:
        raise StoreError(f"{where} says {dtype.name} numbers; allowed: {', '.join(kind.dtypes)}")
    wanted = kind.fill
    if wanted is None:
        if not np.isfinite(fill):
            raise StoreError(f"{where} has the fill value {fill}; it must be a finite number")
    elif not (fill == wanted or (math.isnan(wanted) and np.isnan(fill))):
        raise StoreError(f"{where} has the fill value {fill}; it must be {wanted}")


def _check_chunks(where: str, kind: Kind, found: ArrayMetadata) -> None:
    for name, sizes in (("chunks", found.chunks), ("shards", found.grid)):
        if not all(size >= 1 for size in sizes):
            raise StoreError(f"{where} has {name} of the shape {sizes}; every size must be at least 1")
    slots = math.prod(-(-size // step) for size, step in zip(found.grid, found.chunks, strict=True))
    largest = max(found.chunk_bytes, math.prod(found.shape[2:]) * found.dtype.itemsize)
    if largest > _MAX_CHUNK_BYTES or slots > _MAX_SLOTS:
        raise StoreError(
            f"{where} has segments or chunks of {largest:,} bytes and {slots:,} chunks a shard; "
            f"at most {_MAX_CHUNK_BYTES:,} and {_MAX_SLOTS:,} are read"
        )
    sharded = found.grid != found.chunks and kind.axes == "NVTD"
    if sharded and (found.grid[2:] != found.shape[2:] or found.shape[1] % found.grid[1]):
        raise StoreError(
            f"{where} has the shape {found.shape} and shards of {found.grid}: a shard must hold whole views of segments"
        )


def _is_direct(array: Any) -> bool:
    document = array.metadata.to_dict()
    codecs = [dict(codec) for codec in document["codecs"]]
    if len(codecs) != 1 or codecs[0]["name"] != "sharding_indexed" or array.ndim != 4:
        return False
    sharding = codecs[0]["configuration"]
    _, views, tokens, width = array.shape
    return (
        _separator(document) == "/"
        and tuple(sharding["chunk_shape"]) == (1, 1, tokens, width)
        and tuple(array.shards[1:]) == (views, tokens, width)
        and _uncompressed(sharding["codecs"])
        and _named(sharding["index_codecs"]) == ["bytes:little", "crc32c"]
        and sharding.get("index_location", "end") == "end"
    )


def _is_plain(array: Any) -> bool:
    document = array.metadata.to_dict()
    return _separator(document) == "/" and _uncompressed(document["codecs"])


def _separator(document: dict[str, Any]) -> str | None:
    """The separator in chunk file names; None when the names do not have the default form of Zarr v3."""
    keys = document["chunk_key_encoding"]
    return str(keys.get("configuration", {}).get("separator", "/")) if keys["name"] == "default" else None


def _uncompressed(codecs: Any) -> bool:
    """`bytes` and `crc32c`; a one-byte dtype has no order of bytes."""
    return _named(codecs) in (["bytes:little", "crc32c"], ["bytes", "crc32c"])


def _named(codecs: Any) -> list[str]:
    out = []
    for codec in codecs:
        codec = dict(codec) if not hasattr(codec, "to_dict") else codec.to_dict()
        endian = codec.get("configuration", {}).get("endian")
        out.append(f"{codec['name']}:{getattr(endian, 'value', endian)}" if endian else codec["name"])
    return out
