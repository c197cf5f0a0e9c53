"""Read members of an untrusted HDF5 file.

Only values that lie in this one file, were written and have an acceptable size are read: a link, a virtual data set or
external storage may name any file, and values that were never written read as zeros. Any exception that a damaged file
causes in h5py becomes an UnusableMember.
"""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np
from numpy.typing import NDArray

from mmcache.store.files.user_file import check_regular
from mmcache.store.ground.errors import ConfigError
from mmcache.store.ground.text import excerpt

_MOST_ROWS = 20_000_000  # segments: ten times as many as the largest data sets of actions have
_MOST_BYTES = 256 << 20  # of a member that is read whole, and of the tokens of one segment
_MOST_CHUNK_BYTES = 1 << 30  # a chunk is unpacked whole
_MOST_LINKS = 16  # soft links on the way to a member, as many as HDF5 follows
_TEXTS_AT_ONCE = 1024
_COPY = "copy its values into an ordinary data set of this file"
_PATH = 300  # characters of a path that messages show
Value = TypeVar("Value")


class UnusableMember(ValueError):
    """A member of the file cannot be used. The message is the predicate of a sentence about it: 'has no shape'."""


def open_file(source: Path) -> h5py.File:
    """Open a file for reading. Raises OSError where it is no regular file, UnusableMember where it is no HDF5."""
    check_regular(source)
    return _guarded(lambda: h5py.File(source, "r"))


def open_hdf5(source: Path) -> h5py.File:
    """Open a file that is to be imported. Raises ConfigError where it is no HDF5."""
    try:
        return open_file(source)
    except FileNotFoundError as error:
        raise ConfigError(f"{source} is not there: give an HDF5 file or a folder of .npy files") from error
    except OSError as error:
        raise ConfigError(f"{source} cannot be opened: {error.strerror}") from error
    except UnusableMember as error:
        raise ConfigError(
            f"{source} cannot be opened as HDF5: it {error}. Give an HDF5 file, or a folder of .npy files"
        ) from error


def _guarded(access: Callable[[], Value]) -> Value:
    try:
        return access()
    except UnusableMember:
        raise
    except Exception as error:  # h5py raises whatever kind fits the place where HDF5 found the damage
        raise UnusableMember(f"cannot be read: {excerpt(' '.join(str(error).split()), 200)}") from error


def find(start: h5py.Group, path: str) -> h5py.Group | h5py.Dataset | None:
    """The group or data set at a path from a group; None when there is none. Soft links are followed here, not by HDF5.

    Raises:
        UnusableMember: a link leads to another file, nowhere or in a circle.
    """
    root = _guarded(lambda: start["/"])
    here, rest, links = (root if isinstance(start, h5py.File) else start), path.split("/"), 0
    while rest:
        name = rest.pop(0)
        if name in ("", "."):
            continue
        if not isinstance(here, h5py.Group):
            raise UnusableMember(f"cannot be reached: '{here.name}' is no group")
        step = _link(here, name)
        if step is None and links:
            raise UnusableMember(f"is a link that leads nowhere: there is no '{name}' in '{here.name}'")
        if step is None:
            return None
        if isinstance(step, h5py.HardLink):
            here = _guarded(lambda here=here, name=name: here[name])  # type: ignore[misc]
            continue
        links += 1
        if links > _MOST_LINKS:
            raise UnusableMember("is a link that leads back to itself, or through too many others")
        target = step.path
        here, rest = (root if target.startswith("/") else here), [*target.split("/"), *rest]
    if not isinstance(here, (h5py.Group, h5py.Dataset)):
        raise UnusableMember("must be a data set, is a named type")
    return here


def _link(group: h5py.Group, name: str) -> h5py.HardLink | h5py.SoftLink | None:
    """The link of that name, not followed; None when there is none."""
    raw, links = name.encode("utf-8", "surrogateescape"), group.id.links
    if not _guarded(lambda: links.exists(raw)):
        return None
    kind = _guarded(lambda: links.get_info(raw).type)
    if kind == h5py.h5l.TYPE_HARD:
        return h5py.HardLink()
    if kind == h5py.h5l.TYPE_SOFT:
        return h5py.SoftLink(_guarded(lambda: links.get_val(raw)).decode("utf-8", "surrogateescape"))
    if kind == h5py.h5l.TYPE_EXTERNAL:
        other = _guarded(lambda: links.get_val(raw))[0].decode("utf-8", "replace")
        raise UnusableMember(f"is a link to another file ({excerpt(other, _PATH)}), which is not read: {_COPY}")
    raise UnusableMember("is a link of an unknown kind")


def names_in(group: h5py.Group) -> list[str]:
    """The names in a group. Raises UnusableMember where they cannot be read or one is not UTF-8."""
    names = _guarded(lambda: list(group))
    for name in names:
        if not name.isprintable():
            raise UnusableMember(f"has a member with an unusable name, {excerpt(name)}")
    return names


def check_stored(dataset: h5py.Dataset) -> None:
    """Raise UnusableMember unless the values of a data set lie in this file and its shape is one that can be read."""
    plan = _guarded(dataset.id.get_create_plist)
    layout = _guarded(plan.get_layout)
    if layout == h5py.h5d.VIRTUAL:
        names = {_guarded(lambda i=i: plan.get_virtual_filename(i)) for i in range(plan.get_virtual_count())}  # type: ignore[misc]
        raise UnusableMember(
            f"is virtual: its values lie elsewhere ({excerpt(', '.join(sorted(names)), _PATH)}). {_COPY}"
        )
    if _guarded(plan.get_external_count):
        other = _guarded(lambda: plan.get_external(0))[0]
        name = other.decode("utf-8", "replace") if isinstance(other, bytes) else other
        raise UnusableMember(f"keeps its values in another file ({excerpt(name, _PATH)}), which is not read: {_COPY}")
    if not _guarded(plan.all_filters_avail):
        numbers = [_guarded(lambda i=i: plan.get_filter(i))[0] for i in range(plan.get_nfilters())]  # type: ignore[misc]
        filters = ", ".join(map(str, numbers))
        raise UnusableMember(f"is compressed by a filter that is not installed (of {filters}): write it with gzip")
    shape = _guarded(lambda: dataset.shape)
    if shape is None:
        raise UnusableMember("has no shape: it is an empty data set")
    count, size = math.prod(shape), _guarded(lambda: dataset.id.get_type().get_size())
    if layout == h5py.h5d.CHUNKED and math.prod(dataset.chunks) * size > _MOST_CHUNK_BYTES:
        raise UnusableMember(f"has chunks of {math.prod(dataset.chunks) * size:,} bytes: write it with smaller ones")
    stored = _guarded(dataset.id.get_storage_size)
    if stored > os.path.getsize(dataset.file.filename):
        raise UnusableMember(f"is damaged: it claims {stored:,} bytes, more than the file has")
    if count and not stored:
        raise UnusableMember(f"has the shape {shape}, but its values were never written: they would read as zeros")
    if layout == h5py.h5d.CONTIGUOUS and stored < count * size:
        raise UnusableMember(f"is damaged: its shape {shape} takes {count * size:,} bytes, it has {stored:,}")


def values_of(dataset: h5py.Dataset) -> NDArray[Any]:
    """All of a small data set of numbers or text. Raises UnusableMember."""
    check_stored(dataset)
    dtype_of(dataset)
    if dataset.shape and dataset.shape[0] > _MOST_ROWS:
        raise UnusableMember(f"has the shape {dataset.shape}; at most {_MOST_ROWS:,} segments are imported")
    return read_whole(dataset)


def read_whole(dataset: h5py.Dataset, most_bytes: int = _MOST_BYTES) -> Any:
    """All values of a data set of any type. Raises UnusableMember where they do not lie in the file, or are too many.

    Args:
        most_bytes: limit of the values; the contents of variable-length strings and lists are not counted.
    """
    check_stored(dataset)
    size = dataset.size * _guarded(lambda: dataset.dtype).itemsize
    if size > most_bytes:
        raise UnusableMember(f"has the shape {dataset.shape}: {size:,} bytes, at most {most_bytes:,} are read")
    check_written(dataset)
    return _guarded(lambda: dataset[()])


def check_written(dataset: h5py.Dataset, rows: slice | None = None) -> None:
    """Raise UnusableMember where parts of a data set, or of some rows of it, were never written: they read as zeros.

    Args:
        dataset: checked by check_stored.
        rows: from start to stop, both of them numbers; None = all.
    """
    if dataset.size and dataset.chunks is not None and not _whole_chunks(dataset, rows).all():
        raise UnusableMember(f"has the shape {dataset.shape}, but parts of it were never written")


def written_rows(dataset: h5py.Dataset) -> NDArray[np.bool_]:
    """(N,) whether all values of a row were ever written; a chunk that was written in part counts.

    Args:
        dataset: checked by check_stored.
    """
    n = dataset.shape[0]
    if dataset.chunks is None:
        return np.ones(n, bool)
    return np.repeat(_whole_chunks(dataset), dataset.chunks[0])[:n]


def _whole_chunks(dataset: h5py.Dataset, rows: slice | None = None) -> NDArray[np.bool_]:
    """Whether all of each chunk's rows were written, for the chunks along the first axis that hold `rows`."""
    length = dataset.chunks[0]
    first, last = (0, dataset.shape[0]) if rows is None else (rows.start, min(rows.stop, dataset.shape[0]))
    low = first // length
    chunks = np.zeros(max(0, math.ceil(last / length) - low), np.int64)

    def count(chunk: Any) -> None:
        at = chunk.chunk_offset[0] // length - low
        if 0 <= at < len(chunks):
            chunks[at] += 1

    _guarded(lambda: dataset.id.chunk_iter(count))
    return chunks >= math.prod(math.ceil(n / c) for n, c in zip(dataset.shape[1:], dataset.chunks[1:], strict=True))


def check_row_size(dataset: h5py.Dataset) -> None:
    """Raise UnusableMember where one row of (N, ...) is too large to be a segment's tokens or a picture."""
    size = math.prod(dataset.shape[1:]) * dataset.dtype.itemsize
    if size > _MOST_BYTES:
        raise UnusableMember(f"has the shape {dataset.shape}: {size:,} bytes a row, at most {_MOST_BYTES:,} are read")


def read_rows(dataset: h5py.Dataset, rows: slice) -> NDArray[Any]:
    """Rows of a data set that check_stored has passed. Raises UnusableMember where they are damaged."""
    return _guarded(lambda: dataset[rows])


def dtype_of(dataset: h5py.Dataset) -> np.dtype:
    """Numbers or text. Raises UnusableMember for anything else, such as references and records."""
    dtype = _guarded(lambda: dataset.dtype)
    if dtype.kind not in "iufbS" and h5py.check_string_dtype(dtype) is None:
        kinds = {"V": "records or arrays", "c": "complex numbers", "O": "references or lists of varying length"}
        raise UnusableMember(f"holds {kinds.get(dtype.kind, str(dtype))}; numbers or text are read")
    return dtype


def as_bytes(value: Any) -> bytes:
    """The bytes of a packed file: from a string, opaque bytes or a byte array. Raises UnusableMember for others."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, np.void):
        return value.tobytes()
    array: NDArray[Any] = np.asarray(value)
    if array.dtype.kind == "S" and array.size == 1:
        return bytes(array.item())
    if array.dtype not in (np.uint8, np.int8):
        raise UnusableMember(f"holds {array.dtype} values, not the bytes of a file")
    return array.tobytes()


def is_text(dtype: np.dtype) -> bool:
    return dtype.kind == "S" or h5py.check_string_dtype(dtype) is not None


def texts_of(dataset: h5py.Dataset) -> list[str]:
    """A vector of strings of any of HDF5's kinds; numbers become their digits. Raises UnusableMember."""
    check_stored(dataset)
    if dataset.ndim != 1:
        raise UnusableMember(f"must be a vector, has shape {dataset.shape}")
    if not is_text(dtype_of(dataset)):
        return [str(value) for value in values_of(dataset).tolist()]
    if len(dataset) > _MOST_ROWS or (len(dataset) and not written_rows(dataset).all()):
        raise UnusableMember(f"has the shape {dataset.shape}, but at least a part of it was never written")
    kind = _guarded(dataset.id.get_type)
    padded = not kind.is_variable_str() and kind.get_strpad() == h5py.h5t.STR_SPACEPAD  # as Fortran writes
    out: list[str] = []
    total = 0
    for start in range(0, len(dataset), _TEXTS_AT_ONCE):
        for value in read_rows(dataset, slice(start, start + _TEXTS_AT_ONCE)).tolist():
            total += len(value)
            out.append(_decoded(value.rstrip(b" ") if padded else value, f" in row {len(out)}"))
        if total > _MOST_BYTES:
            raise UnusableMember(f"has more than {_MOST_BYTES:,} bytes of text")
    return out


def text_attribute(member: h5py.Group | h5py.Dataset, name: str) -> str | None:
    """A text that a file says of a member; None where it says none. Raises UnusableMember where it is no text."""

    def read() -> Any:
        if name not in member.attrs:
            return None
        return member.attrs[name]  # `get` would take a damaged attribute for none

    value = _guarded(read)
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(-1)[0]
    if value is None or isinstance(value, str):
        text = value
    elif isinstance(value, bytes):
        text = _decoded(value, "")
    else:
        raise UnusableMember(f"has an attribute '{name}' that is no text: {excerpt(value)}")
    if text is not None and not text.isprintable():
        raise UnusableMember(f"has an attribute '{name}' with unusable characters: {excerpt(text)}")
    return text


def has_attribute(member: h5py.Group | h5py.Dataset, name: str) -> bool:
    """Whether a member has an attribute of that name. Raises UnusableMember where they cannot be read."""
    return _guarded(lambda: name in member.attrs)


def _decoded(value: bytes | str, place: str) -> str:
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError as error:
        raise UnusableMember(f"has text{place} that is not UTF-8: {excerpt(value)}") from error
