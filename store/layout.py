"""Names and metadata of a store: what lies where, and what its attributes say.

    epic.zarr/
      zarr.json                        attrs.mmcache = StoreMeta
      segments.parquet                 row i = segment i
      tokens/<modality>/<encoder>      (N, V, T, D), attrs.fingerprint
      length/<modality>/<encoder>      (N, V), only where token counts vary
      present/<modality>/<encoder>     (N,), see Presence
      scale/<modality>/<encoder>       (N, V, T, 1) float32, only beside int8 tokens: token = int8 * scale
      error/<modality>/<encoder>       (N, V) float32, only beside int8 tokens: what rounding cost
      logits/<teacher>/<task>          (N, V, S, C)
      failures.jsonl                   one line for every present == FAILED
      notes.jsonl                      one line for everything mended or found missing on the way
      sources.jsonl                    size and time of the media of every settled segment
      .spare/                          a second copy of every zarr.json, of the segments and of the reports

zarr-python composes every zarr.json; this module seals them (see sealed.py) and puts them in place.
"""

import dataclasses
import enum
import importlib.metadata
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import zarr
import zarr.storage
from zarr.codecs import Crc32cCodec

from mmcache.store.errors import NoStoreError, StoreError
from mmcache.store.location import is_remote, unreachable
from mmcache.store.sealed import BLANK, SEAL, Seal, check_seal, put_file, seal

FORMAT_VERSION = 1
SEGMENTS = "segments.parquet"
FAILURES = "failures.jsonl"
NOTES = "notes.jsonl"
SOURCES = "sources.jsonl"
QUANTISATION = "quantisation"  # the attribute of tokens that are to be multiplied by scale/<modality>/<encoder>
WORK = ".work"  # parts that running workers leave for the driver to merge; empty when nothing runs
FLOAT_DTYPES = ("float16", "float32")
TOKEN_DTYPES = (*FLOAT_DTYPES, "int8")
DEFAULT_SHARD_BYTES = 128 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,99}")


class Presence(enum.IntEnum):
    """What is known of one segment and modality."""

    MISSING = 0  # no media on disk
    CACHED = 1
    FAILED = 2  # media there, but unusable: failures.jsonl says why
    TO_DO = 3  # not yet done


@dataclasses.dataclass(frozen=True)
class Beside:
    """A small (N, V) array beside tokens."""

    dtype: str
    fill_value: float


BESIDE = {"length": Beside("int32", 0), "error": Beside("float32", float("nan"))}


@dataclasses.dataclass(frozen=True)
class StoreMeta:
    """attrs.mmcache of the root group."""

    dataset: str
    tasks: dict[str, list[str]]  # task -> class names, index = label
    splits: dict[str, int]  # split -> number of segments
    eval_split: str  # the split results are reported on; '' = left open, see FeatureStore.eval_split
    coverage: dict[str, dict[str, dict[str, int]]] = dataclasses.field(default_factory=dict)
    recommended: dict[str, Any] = dataclasses.field(default_factory=dict)  # the data set's own fuse settings
    sha256: dict[str, str] = dataclasses.field(default_factory=dict)  # of segments.parquet and the reports
    format_version: int = FORMAT_VERSION
    created_by: str = f"mmcache {importlib.metadata.version('mmcache')}"


def check_name(what: str, name: str) -> str:
    """Return `name` if it can safely be a folder name. Raises StoreError otherwise."""
    if not _NAME.fullmatch(name) or name.endswith(".") or name == "zarr.json":
        raise StoreError(
            f"{what} '{name}' cannot name a folder: use up to 100 letters, digits, '_', '-' and '.', "
            "starting with a letter or digit"
        )
    return name


def _composed(make: Any) -> bytes:
    """The zarr.json that zarr-python writes for what `make(memory_store)` creates at the root, sealed."""
    files: dict[str, Any] = {}
    make(zarr.storage.MemoryStore(files))
    return seal(files["zarr.json"].to_bytes())


def write_group(root: Path, name: str, attributes: dict[str, Any]) -> None:
    """Create the group `name` ("" = the root), or replace its attributes, atomically."""
    sealed = {**attributes, SEAL: BLANK}
    document = _composed(lambda memory: zarr.create_group(memory, attributes=sealed, zarr_format=3))
    put_file(root, _document(name), document)


def ensure_group(root: Path, name: str) -> None:
    if not (root / _document(name)).exists():
        write_group(root, name, {})


def write_array(root: Path, name: str, *, attributes: dict[str, Any] | None = None, **spec: Any) -> None:
    """Put the zarr.json of an array in place, `spec` being zarr.create_array's; the groups above it must exist."""
    sealed = {**(attributes or {}), SEAL: BLANK}
    document = _composed(lambda memory: zarr.create_array(memory, zarr_format=3, attributes=sealed, **spec))
    put_file(root, _document(name), document)


def write_sharded_array(
    root: Path,
    name: str,
    shape: tuple[int, int, int, int],
    dtype: str,
    rows_per_shard: int,
    attributes: dict[str, Any] | None = None,
) -> None:
    """Metadata of a token array: chunk (1, 1, T, D), shard (R, V, T, D), bytes + crc32c, index at the end."""
    _, views, tokens, width = shape
    write_array(
        root,
        name,
        shape=shape,
        dtype=dtype,
        shards=(rows_per_shard, views, tokens, width),
        chunks=(1, 1, tokens, width),
        compressors=Crc32cCodec(),
        fill_value=0,
        attributes=attributes,
    )


def write_plain_array(
    root: Path,
    name: str,
    shape: tuple[int, ...],
    dtype: str,
    chunks: tuple[int, ...],
    fill_value: float,
) -> None:
    """Metadata of a small array, chunked but not sharded, each chunk with its crc32c."""
    write_array(root, name, shape=shape, dtype=dtype, chunks=chunks, compressors=Crc32cCodec(), fill_value=fill_value)


def _document(name: str) -> str:
    return f"{name}/zarr.json" if name else "zarr.json"


def read_attributes(path: Path) -> dict[str, Any]:
    """The attributes in `path`/zarr.json. Raises StoreError when that file is damaged."""
    damaged = f"{path}/zarr.json is damaged; `mmcache store verify --repair` mends it from its spare copy"
    try:
        document = (path / "zarr.json").read_bytes()
        attributes = json.loads(document)["attributes"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{damaged} (it cannot be read: {error})") from error
    except Exception as error:
        raise unreachable(path, error) from error
    if check_seal(document) is Seal.BROKEN:
        raise StoreError(f"{damaged} (it fails its checksum)")
    if not isinstance(attributes, dict):
        raise StoreError(f"{damaged} (it has no attributes)")
    return {key: value for key, value in attributes.items() if key != SEAL}


def write_meta(root: Path, meta: StoreMeta) -> None:
    write_group(root, "", {"mmcache": dataclasses.asdict(meta)})


def read_meta(root: Path) -> StoreMeta:
    """Read and check the root attributes.

    Raises:
        NoStoreError: nothing is there.
        StoreError: not one of ours, or written by a newer format than this code knows.
    """
    try:
        found = (root / "zarr.json").exists()
    except Exception as error:  # of a network: file systems raise many kinds here
        raise unreachable(root, error) from error
    if not found:
        raise NoStoreError(
            f"no store at {root} (no zarr.json there). `mmcache extract` or `mmcache store import` makes one."
        )
    attributes = read_attributes(root)
    if "mmcache" not in attributes:
        raise StoreError(f"{root} is a Zarr group but not an mmcache store: attrs.mmcache is absent")
    saved = attributes["mmcache"]
    if not isinstance(saved, dict):
        raise StoreError(f"{root}/zarr.json: attrs.mmcache is {saved!r}; the store is damaged there")
    version = saved.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise StoreError(
            f"{root} has store format {version}; this mmcache reads up to {FORMAT_VERSION}. Upgrade mmcache to read it."
        )
    known = {field.name for field in dataclasses.fields(StoreMeta)}
    try:
        return StoreMeta(**{key: value for key, value in saved.items() if key in known})
    except TypeError as error:
        raise StoreError(
            f"{root}/zarr.json: attrs.mmcache is not whole ({error}); the store is damaged there"
        ) from error


def token_bytes(tokens: int, width: int, dtype: str) -> int:
    """Bytes of one cached view of one segment."""
    return tokens * width * np.dtype(dtype).itemsize


def token_arrays(root: Path) -> list[tuple[str, str]]:
    """(modality, encoder) of every token array, modalities sorted, encoders in the order they were added."""
    if is_remote(root):  # the web has no lists of files; the root says what there was when the last writer finished
        counted = read_meta(root).coverage.values()
        return list(dict.fromkeys((m, e) for split in counted for m, encoders in split.items() for e in encoders))
    found = []
    tokens = root / "tokens"
    # A folder without zarr.json is no group: a run was killed before it became one.
    for group in sorted(path.parent for path in tokens.glob("*/zarr.json")):
        for encoder in read_attributes(group).get("encoders", []):
            if (group / encoder / "zarr.json").exists():
                found.append((group.name, encoder))
    return found
