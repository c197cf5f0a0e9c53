"""Write files so that they appear whole or not at all: temporary name, fsync, rename, fsync of the folder.

A process killed at any moment leaves either the old file or the new one, and at worst a temporary
file whose name starts with `.tmp-`, which the next writer of the same folder may remove.
"""

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

TEMPORARY_PREFIX = ".tmp-"
_FICLONE = 0x40049409  # ioctl of linux/fs.h


def temporary_beside(path: Path) -> Path:
    """A unique temporary path beside `path`, unique across processes and machines."""
    unique = f"{os.getpid()}{int.from_bytes(os.urandom(4)):010d}"
    return path.parent / f"{TEMPORARY_PREFIX}{unique}-{path.name}"


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path`. On a clean exit it replaces `path`; on an error it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise with_path(error, path) from error
        raise
    fsync_folder(path.parent)


def with_path(error: OSError, path: Path) -> OSError:
    """The error with `path` as its file name, because the error of a failed write has none."""
    return OSError(error.errno, error.strerror or str(error), str(path)) if error.filename is None else error


def atomic_write(path: Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all."""
    with atomic_file(path) as file:
        file.write(data)


def reference_copy(source: Path, target: Path) -> None:
    """Make `target` a file of the same bytes as `source`, without copying them where the file system allows.

    A clone (btrfs, xfs, bcachefs), else a second name for the same file, else a copy. Sharing one file is safe here:
    files of a store are replaced, never changed in place.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(target)
    try:
        if not _clone(source, temporary):
            temporary.unlink(missing_ok=True)
            try:
                os.link(source.resolve(), temporary)  # the file itself, not a symbolic link that a data manager created
            except OSError:  # another file system, or one without links
                shutil.copyfile(source, temporary)
        descriptor = os.open(temporary, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    temporary.unlink(missing_ok=True)  # rename does nothing when both are names of one file
    fsync_folder(target.parent)


def _clone(source: Path, target: Path) -> bool:
    with open(source, "rb") as original, open(target, "wb") as clone:
        try:
            fcntl.ioctl(clone.fileno(), _FICLONE, original.fileno())
        except OSError:
            return False
    return True


def fsync_folder(folder: Path) -> None:
    """Make renames and removals in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path) -> int:
    """Remove temporary files and folders that killed writers left below or beside `folder`; returns their number.

    The caller must hold the lock of `folder`, because the temporary files of a running writer would be removed too.
    """
    own = re.compile(rf"{re.escape(TEMPORARY_PREFIX)}\d+-{re.escape(folder.name)}")
    beside = [path for path in folder.parent.iterdir() if own.fullmatch(path.name)] if folder.parent.exists() else []
    leftovers = [*beside, *folder.rglob(f"{TEMPORARY_PREFIX}*")]
    for leftover in leftovers:
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink(missing_ok=True)
    return len(leftovers)
