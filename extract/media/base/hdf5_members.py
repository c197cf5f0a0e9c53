"""HDF5 files of media: what hdf5_reading.py of the store refuses becomes a MediaError that names the file or member."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import h5py

from mmcache.extract.media.base.requests import MediaError
from mmcache.store.files.hdf5_reading import UnusableMember, check_stored, find, open_file
from mmcache.store.ground.text import printable


@contextlib.contextmanager
def open_hdf5(path: Path, form: str = "HDF5") -> Iterator[h5py.File]:
    """Open `path` for reading. Raises MediaError if it cannot be opened, or is no HDF5 file.

    Args:
        form: what messages call it.
    """
    try:
        file = open_file(path)
    except FileNotFoundError as error:
        raise MediaError(f"{path.name} cannot be read as {form}: it is not there") from error
    except OSError as error:
        raise MediaError(f"{path.name} cannot be read as {form}: {error.strerror}") from error
    except UnusableMember as error:
        raise MediaError(f"{path.name} cannot be read as {form}: it {error}") from error
    with file:
        yield file


@contextlib.contextmanager
def member(where: str) -> Iterator[None]:
    """Turn errors of a member of the file into MediaError.

    Args:
        where: what messages call the member.
    """
    try:
        yield
    except UnusableMember as error:
        raise MediaError(f"{where} {error}") from error


def find_member(start: h5py.Group, entry: str, where: str) -> h5py.Group | h5py.Dataset | None:
    """The group or data set at `entry`, with its values in this file; None if the name does not exist."""
    with member(where):
        found = find(start, entry)
        if isinstance(found, h5py.Dataset):
            check_stored(found)
        return found


def named(entry: str, path: Path) -> str:
    """What messages call a member of a file."""
    return f"'{printable(entry)}' in {printable(path.name)}"
