"""Write HDF5 files that appear whole or not at all, even if a write fails.

The HDF5 library does not survive a write that fails: it tries the same write again when the file is closed and when the
process ends, prints tracebacks and may crash. So it writes through a file object that keeps the first error and
then discards all further data; the error is raised after the library has closed the file.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py

from mmcache.store.files.atomic import TEMPORARY_PREFIX, fsync_folder


class _Target:
    """The file object that HDF5 writes to; its calls never fail."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._position = 0
        self._size = 0
        self.error: OSError | None = None

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        return self._position

    def tell(self) -> int:
        return self._position

    def write(self, data: memoryview) -> int:
        done, size = 0, len(data)
        while done < size and self.error is None:
            try:
                done += os.pwrite(self._descriptor, data[done:], self._position + done)
            except OSError as error:
                self.error = error
        self._position += size
        self._size = max(self._size, self._position)
        return size

    def readinto(self, buffer: memoryview) -> int:
        found = os.preadv(self._descriptor, [buffer], self._position)
        buffer[found:] = bytes(len(buffer) - found)  # zeros in place of discarded data
        self._position += len(buffer)
        return len(buffer)

    def read(self, size: int = -1) -> bytes:
        """h5py requires this method; HDF5 uses readinto."""
        return os.pread(self._descriptor, self._size if size < 0 else size, self._position)

    def truncate(self, size: int) -> int:
        self._size = size
        try:
            if self.error is None:
                os.ftruncate(self._descriptor, size)
        except OSError as error:
            self.error = error
        return size

    def flush(self) -> None:
        """Nothing is buffered here."""


@contextlib.contextmanager
def new_hdf5(path: Path) -> Iterator[tuple[h5py.File, Callable[[], None]]]:
    """An HDF5 file that replaces `path` on a clean exit, and a function that raises the error of a failed write.

    Raises:
        OSError: the disk is full, or the file cannot be written for another reason; nothing is left of it.
    """
    temporary = path.parent / f"{TEMPORARY_PREFIX}{path.name}"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with open(temporary, "w+b", buffering=0) as raw:
            target = _Target(raw.fileno())

            def check() -> None:
                if target.error is not None:
                    raise OSError(target.error.errno, target.error.strerror, str(path)) from target.error

            with h5py.File(target, "w") as file:
                yield file, check
            check()
            os.fsync(raw.fileno())
        os.replace(temporary, path)
        fsync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
