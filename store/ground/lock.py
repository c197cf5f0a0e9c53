"""One writer at a time of a store, a run, a sweep or a report: an advisory lock on a file beside its folder.

The kernel releases the lock when its process ends, so a leftover lock file blocks no one.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from mmcache.store.ground.errors import StoreError

_LOOK_EVERY_S = 0.2
_AT_LEAST_S, _AT_FIRST_S = 0.4, 0.01  # how long, and how often, to try where no one asked to wait


class InUseError(StoreError):
    """Another process is writing the folder.

    Attributes:
        holder: that process's id, or 'unknown'.
    """

    def __init__(self, what: str, holder: str) -> None:
        self.holder = holder
        super().__init__(
            f"{what} is being written by another process (pid {holder}). "
            "Wait for it to finish, or stop it; nothing was changed."
        )


@contextlib.contextmanager
def writer_lock(folder: Path, wait_s: float = 0.0, what: str = "") -> Iterator[None]:
    """Hold the lock of `folder`; only one process can.

    Args:
        wait_s: how long to wait while another process holds the lock.
        what: what the folder is, for the message, as "the run".

    Raises:
        InUseError: another process still holds it after `wait_s` seconds.
    """
    # Not at once: holder_of takes the lock for a moment to find out whether it is free, and may do so again and again.
    began = time.monotonic()
    until = began + max(wait_s, _AT_LEAST_S)
    path = _lock_file(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(descriptor)
            os.close(descriptor)
            if time.monotonic() < until:
                time.sleep(_AT_FIRST_S if time.monotonic() < began + _AT_LEAST_S else _LOOK_EVERY_S)
                continue
            raise InUseError(f"{what} {folder}".strip(), holder) from None
        # The previous holder may have removed the file between our open and our lock.
        with contextlib.suppress(FileNotFoundError):
            if os.fstat(descriptor).st_ino == path.stat().st_ino:
                break
        os.close(descriptor)
    try:
        with contextlib.suppress(OSError):  # on a full disk; the process id only serves the message of other processes
            os.ftruncate(descriptor, 0)
            os.write(descriptor, str(os.getpid()).encode())
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def holder_of(folder: Path) -> str | None:
    """The id of the process that is writing `folder`, 'unknown' if the lock file has none; None if it is not locked."""
    try:
        descriptor = os.open(_lock_file(folder), os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _holder(descriptor)
    finally:
        os.close(descriptor)
    return None


def _lock_file(folder: Path) -> Path:
    whole = folder.absolute()
    return whole.parent / f".{whole.name}.lock"


def _holder(descriptor: int) -> str:
    return os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
