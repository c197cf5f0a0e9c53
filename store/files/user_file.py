"""Open files that a user named: regular files only, because reading a FIFO or a device may never end."""

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class NotRegularFile(OSError):
    """The path is not a regular file. `strerror` says what it is."""


def check_regular(path: str | os.PathLike[str]) -> os.stat_result:
    """The status of a file. Raises OSError when it does not exist, NotRegularFile when it is not a regular file."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise _refusal(status.st_mode, path)
    return status


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file for reading in binary, without waiting for anything. Raises OSError or NotRegularFile."""
    # O_NONBLOCK makes the open of a FIFO return at once; reads of regular files ignore it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise _refusal(mode, path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: str | os.PathLike[str], limit: int) -> bytes:
    """The whole file. Raises OSError, NotRegularFile, or an OSError (EFBIG) where it is larger than `limit` bytes."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise OSError(errno.EFBIG, f"it has {size:,} bytes, more than the {limit:,} that are allowed", str(path))
        return file.read(limit)


def check_regular_below(folder: str | os.PathLike[str]) -> None:
    """Raise NotRegularFile when a folder contains anything but files, folders and links to these.

    For folders whose files are opened by libraries. Only folders and links are examined, not the files themselves.
    """
    for here, _, _ in os.walk(folder):
        with os.scandir(here) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False) or entry.is_file(follow_symlinks=False):
                    continue
                with contextlib.suppress(FileNotFoundError):  # a broken link: its reader reports it as missing
                    mode = _mode(entry.path)
                    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                        raise _refusal(mode, entry.path)


def _mode(path: str) -> int:
    try:
        return os.stat(path).st_mode
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise NotRegularFile(errno.ELOOP, "it is a link that leads to itself", Path(path).as_posix()) from None
        raise


def _refusal(mode: int, path: str | os.PathLike[str]) -> NotRegularFile:
    kind = next((name for matches, name in _KINDS if matches(mode)), "something else")
    return NotRegularFile(errno.EINVAL, f"it is {kind}, not a regular file", Path(path).as_posix())
