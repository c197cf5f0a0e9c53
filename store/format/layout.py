"""Names and metadata of a store: its folders and files, and the attributes of its root.

    epic.zarr/
      zarr.json                        attrs.mmcache = StoreMeta
      segments.parquet                 row i = segment i
      tokens/<modality>/<encoder>      (N, V, T, D), attrs.fingerprint
      length/<modality>/<encoder>      (N, V), only where token counts vary
      present/<modality>/<encoder>     (N,), see Presence
      scale/<modality>/<encoder>       (N, V, T, 1) float32, only beside int8 tokens: token = int8 * scale
      error/<modality>/<encoder>       (N, V) float32, only beside int8 tokens: relative rounding error
      logits/<teacher>/<task>          (N, V, S, C) cached teacher logits
      failures.jsonl                   one line for every present == FAILED
      notes.jsonl                      one line for each repaired or missing part of media
      sources.jsonl                    size and time of the media of every settled segment
      .spare/                          a second copy of every zarr.json, of the segments and of the reports

zarr-python composes every zarr.json; this module adds a checksum (see sealed.py) and writes the file.
"""

import dataclasses
import enum
import importlib.metadata
import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pydantic
import zarr
import zarr.storage
from zarr.codecs import Crc32cCodec

from mmcache.store.files.document import parse_document, read_bytes, typed
from mmcache.store.files.sealed import BLANK, SEAL, Seal, check_seal, put_file, seal
from mmcache.store.files.user_file import NotRegularFile, check_regular_below
from mmcache.store.format.location import is_remote, unreachable
from mmcache.store.ground.errors import NoStoreError, StoreError
from mmcache.store.ground.text import excerpt
from mmcache.store.segments.segment_table import is_task_name

FORMAT_VERSION = 1
SEGMENTS = "segments.parquet"
FAILURES = "failures.jsonl"
NOTES = "notes.jsonl"
SOURCES = "sources.jsonl"
QUANTISATION = "quantisation"  # attribute of int8 tokens: which array has their scales
WORK = ".work"  # lines of reports that workers wrote and finish_reports will merge; empty when no run is active
FLOAT_DTYPES = ("float16", "float32")
TOKEN_DTYPES = (*FLOAT_DTYPES, "int8")
DEFAULT_SHARD_BYTES = 128 << 20
_REPAIR = "`mmcache store verify --repair` repairs it from its spare copy"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,99}")


class Presence(enum.IntEnum):
    """The state of one segment in one token array."""

    MISSING = 0  # no media on disk
    CACHED = 1
    FAILED = 2  # there is media, but it cannot be used: failures.jsonl has the reason
    TO_DO = 3  # not yet done


@dataclasses.dataclass(frozen=True)
class SideArray:
    """A small (N, V) array beside tokens."""

    dtype: str
    fill_value: float


SIDE_ARRAYS = {"length": SideArray("int32", 0), "error": SideArray("float32", float("nan"))}


_Count = Annotated[int, pydantic.Field(ge=0, lt=2**53)]


@dataclasses.dataclass(frozen=True)
class StoreMeta:
    """attrs.mmcache of the root group."""

    __pydantic_config__ = pydantic.ConfigDict(strict=True)  # what `typed` makes of it: no text for numbers

    dataset: str
    tasks: dict[str, list[str]]  # task -> class names, index = label
    splits: dict[str, _Count]  # split -> number of segments
    eval_split: str  # the split results are reported on; '' = not stated, see FeatureStore.eval_split
    coverage: dict[str, dict[str, dict[str, _Count]]] = dataclasses.field(default_factory=dict)
    recommended: dict[str, Any] = dataclasses.field(default_factory=dict)  # the data set's own fuse settings
    sha256: dict[str, str] = dataclasses.field(default_factory=dict)  # of segments.parquet and the reports
    dataset_plugin: dict[str, str] = dataclasses.field(default_factory=dict)  # name and sha256 of a plugin's source
    format_version: int = FORMAT_VERSION
    created_by: str = f"mmcache {importlib.metadata.version('mmcache')}"

    def check(self, where: str) -> None:
        """Raise StoreError when a task has an unusable name, or a class is listed twice."""
        for task, classes in self.tasks.items():
            if not is_task_name(task):
                raise StoreError(
                    f"{where} names a task {excerpt(task)}: use up to 50 lower-case letters, digits and '_', "
                    "starting with a letter"
                )
            repeated = [name for name, count in Counter(classes).items() if count > 1]
            if repeated:
                raise StoreError(
                    f"{where} lists the class {excerpt(repeated[0])} of task '{task}' more than once; "
                    "every class needs a name of its own"
                )
        for counts in self.coverage.values():
            for modality, encoders in counts.items():
                for encoder in encoders:
                    check_name("modality", modality)
                    check_name("encoder", encoder)


def check_name(what: str, name: str) -> str:
    """Return `name` if it can safely be a folder name. Raises StoreError otherwise."""
    if not _NAME.fullmatch(name) or name.endswith(".") or name == "zarr.json":
        raise StoreError(
            f"{what} {excerpt(name)} cannot name a folder: use up to 100 letters, digits, '_', '-' and '.', "
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
    """Write the zarr.json of an array; `spec` are arguments of zarr.create_array. The groups above it must exist."""
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


def read_document(path: Path) -> dict[str, Any]:
    """`path`/zarr.json. Raises StoreError when it is damaged or does not match the checksum inside it."""
    damaged = f"{path}/zarr.json is damaged; {_REPAIR}"
    try:
        data = read_bytes(path / "zarr.json")
        document = parse_document(data)
    except (OSError, ValueError) as error:
        raise StoreError(f"{damaged} (it cannot be read: {error})") from error
    except Exception as error:  # of a network: file systems raise many kinds here
        raise unreachable(path, error) from error
    if check_seal(data) is Seal.BROKEN:
        raise StoreError(f"{damaged} (it fails its checksum)")
    if not isinstance(document, dict) or not isinstance(document.get("attributes"), dict):
        raise StoreError(f"{damaged} (it has no attributes)")
    if type(document.get("zarr_format")) is not int or document["zarr_format"] != 3:
        raise StoreError(f"{damaged} (its zarr_format is {excerpt(document.get('zarr_format'))}, not 3)")
    if document.get("node_type") not in ("group", "array"):
        raise StoreError(f"{damaged} (its node_type is {excerpt(document.get('node_type'))}, not group or array)")
    return document


def read_attributes(path: Path) -> dict[str, Any]:
    """The attributes in `path`/zarr.json. Raises StoreError when that file is damaged."""
    return {key: value for key, value in read_document(path)["attributes"].items() if key != SEAL}


def write_meta(root: Path, meta: StoreMeta) -> None:
    write_group(root, "", {"mmcache": dataclasses.asdict(meta)})


def check_files(root: Path) -> None:
    """Raise StoreError when a store contains a FIFO or a device, because opening one may block for ever."""
    try:
        check_regular_below(root)
    except NotRegularFile as error:
        raise StoreError(
            f"{error.filename} cannot be read: {error.strerror}. A store contains files and folders only: remove "
            f"{error.filename}. If it replaced a file of the store, `mmcache store verify --repair {root}` "
            "then restores that file"
        ) from error


def read_meta(root: Path) -> StoreMeta:
    """Read and check the root attributes.

    Raises:
        NoStoreError: there is no store.
        StoreError: not an mmcache store, a newer format than this version reads, or a FIFO or device is in it.
    """
    if not is_remote(root):
        check_files(root)
    try:
        found = (root / "zarr.json").exists()
    except Exception as error:  # of a network: file systems raise many kinds here
        raise unreachable(root, error) from error
    if not found:
        raise NoStoreError(
            f"no store at {root} (no zarr.json there). `mmcache extract` or `mmcache store import` makes one."
        )
    document = read_document(root)
    attributes = document["attributes"]
    if document["node_type"] != "group" or "mmcache" not in attributes:
        raise StoreError(f"{root} is a Zarr {document['node_type']} but not an mmcache store: attrs.mmcache is absent")
    saved = attributes["mmcache"]
    where = f"{root}/zarr.json is damaged: attrs.mmcache"
    if not isinstance(saved, dict):
        raise StoreError(f"{where} is {excerpt(saved)}, not a mapping")
    version = saved.get("format_version")
    if type(version) is not int or version > FORMAT_VERSION:
        raise StoreError(
            f"{root} has store format {excerpt(version)}; this mmcache reads up to {FORMAT_VERSION}. "
            "Upgrade mmcache to read it."
        )
    if version < 1:
        raise StoreError(f"{where} says store format {version}; the lowest is 1")
    meta = typed(StoreMeta, saved, where)
    meta.check(where)
    return meta


def token_bytes(tokens: int, width: int, dtype: str) -> int:
    """Bytes of one cached view of one segment."""
    return tokens * width * np.dtype(dtype).itemsize


def token_arrays(root: Path) -> list[tuple[str, str]]:
    """(modality, encoder) of every token array, modalities sorted, encoders in the order they were added."""
    if is_remote(root):  # HTTP cannot list files; the root lists the arrays that existed when the last writer finished
        counted = read_meta(root).coverage.values()
        return list(dict.fromkeys((m, e) for split in counted for m, encoders in split.items() for e in encoders))
    return [(folder.name, encoder) for folder in modality_folders(root) for encoder in encoders_of(folder)]


def modality_folders(root: Path) -> list[Path]:
    """The folders of a local store that hold the tokens of one modality each, sorted."""
    return sorted(root.glob("tokens/*/"))


def encoders_of(folder: Path) -> list[str]:
    """The encoders of one modality that have tokens, in the order they were added.

    Leftovers of a killed writer are skipped: a folder without zarr.json, or a listed encoder without tokens.

    Raises:
        StoreError: the list is damaged, or tokens exist that are not listed.
    """
    arrays = {document.parent.name for document in folder.glob("*/zarr.json")}
    if not arrays and not (folder / "zarr.json").exists():
        return []
    listed = listed_encoders(folder)
    for encoder in sorted(arrays - set(listed)):
        raise StoreError(
            f"{folder}/zarr.json does not list '{encoder}' among its encoders, although it has tokens. "
            f"{_REPAIR}, if the copy is undamaged"
        )
    for encoder in listed:
        if encoder not in arrays and (folder / encoder / "c").exists():
            raise StoreError(f"{folder / encoder}/zarr.json is missing, although there are tokens. {_REPAIR}")
    return [encoder for encoder in listed if encoder in arrays]


def listed_encoders(group: Path) -> list[str]:
    """The encoders that the group of a modality lists.

    Raises StoreError when the group's zarr.json is damaged, or an entry cannot be the name of a folder.
    """
    where = f"{group}/zarr.json is damaged: its list of encoders"
    encoders = read_attributes(group).get("encoders", [])
    if not isinstance(encoders, list) or not all(isinstance(encoder, str) for encoder in encoders):
        raise StoreError(f"{where} is {excerpt(encoders)}, not a list of names")
    for encoder in encoders:
        check_name(f"{where} is wrong: encoder", encoder)
    if len(set(encoders)) < len(encoders):
        raise StoreError(f"{where} names an encoder twice: {excerpt(encoders)}")
    check_name("modality", group.name)
    return encoders
