"""HDF5 files of users: opened for reading, with everything that HDF5 can refer to outside of itself refused.

A data set may be virtual (its values lie in other files, and read as 0 where these are gone), lie in external files of
any name, or be declared with a size that was never written (which reads as 0 too). A link may lead into another file.
"""

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from mmcache.extract.media.base import MediaError, NoMedia
from mmcache.store.text import excerpt, printable
from mmcache.store.user_file import check_regular

_LINKS = 16  # soft links that may lead from one to the next


@contextlib.contextmanager
def open_hdf5(path: Path, form: str = "HDF5") -> Iterator[h5py.File]:
    """Open `path` for reading. Everything that h5py raises, then or later, becomes MediaError."""
    try:
        check_regular(path)
        with h5py.File(path, "r") as file:
            yield file
    except (MediaError, NoMedia):
        raise
    except FileNotFoundError as error:
        raise MediaError(f"{path.name} cannot be read as {form}: it is not there") from error
    except Exception as error:  # a damaged file makes h5py raise OSError, RuntimeError, KeyError, ValueError and others
        reason = " ".join((getattr(error, "strerror", None) or str(error)).split())[:200]
        raise MediaError(
            f"{path.name} cannot be read as {form}: {printable(reason) or type(error).__name__}"
        ) from error


def node_at(file: h5py.File, entry: str, name: str) -> h5py.Group | h5py.Dataset | None:
    """The group or data set `entry`, or None where there is none. Raises MediaError where it lies in another file.

    Args:
        name: of the file, for messages.
    """
    node: Any = file
    parts = [part for part in entry.split("/") if part]
    links = 0
    while parts:
        part = parts.pop(0)
        if not isinstance(node, h5py.Group):
            return None
        link = node.get(part, getlink=True)
        if link is None:
            return None
        if isinstance(link, h5py.ExternalLink):
            raise MediaError(f"'{entry}' in {name} is a link into another file; only the file itself is read")
        if isinstance(link, h5py.SoftLink):
            links += 1
            if links > _LINKS:
                raise MediaError(f"'{entry}' in {name} is a link that leads in circles")
            parts = [each for each in link.path.split("/") if each] + parts
            node = file if link.path.startswith("/") else node
            continue
        node = node[part]
    if not isinstance(node, (h5py.Group, h5py.Dataset)):
        raise MediaError(f"'{entry}' in {name} is no data set")
    return node


def read_values(dataset: h5py.Dataset, most_bytes: int, where: str, index: Any = ()) -> Any:
    """Values of a data set, whole or at an index. Raises MediaError where they do not lie in the file.

    Args:
        most_bytes: that the values may take.
        where: what messages call it.
    """
    check_stored(dataset, where)
    count = dataset.size if index == () else 1
    size = int(count or 0) * dataset.dtype.itemsize
    if size > most_bytes:
        raise MediaError(f"{where} is declared with {size:,} bytes; at most {most_bytes:,} are read")
    return dataset[index]


def check_stored(dataset: h5py.Dataset, where: str) -> None:
    """Raise MediaError where the values of a data set lie in other files, or were never written."""
    if dataset.is_virtual or dataset.external:
        kind = "virtual" if dataset.is_virtual else "external"
        raise MediaError(f"{where} is a {kind} data set: its values lie in other files; write them into this one")
    if dataset.size and not dataset.id.get_storage_size():
        raise MediaError(f"{where} is declared as {excerpt(dataset.shape)}, but none of its values was ever written")
    if dataset.chunks:
        pairs = zip(dataset.shape, dataset.chunks, strict=True)
        declared = math.prod(-(-length // chunk) for length, chunk in pairs)
        written = dataset.id.get_num_chunks()
        if written < declared:
            raise MediaError(f"{where} is not complete: {written} of its {declared} chunks were written")


def data_set(node: Any, where: str) -> h5py.Dataset:
    """`node` as a data set. Raises MediaError where it is something else."""
    if not isinstance(node, h5py.Dataset):
        raise MediaError(f"{where} is no data set")
    return node


def as_bytes(value: Any) -> bytes:
    """What a file was packed as: a string, opaque bytes, or an array of them. Raises TypeError for other values."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, np.void):
        return value.tobytes()
    array: NDArray[Any] = np.asarray(value)
    if array.dtype.kind == "S":
        return bytes(array.item())
    if array.dtype not in (np.uint8, np.int8):
        raise TypeError(f"it holds {array.dtype} values, not the bytes of a file")
    return array.tobytes()
