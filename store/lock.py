"""One writer a store: an advisory lock on a file beside it, released by the kernel when its holder dies."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from mmcache.store.errors import StoreError

_LOOK_EVERY_S = 0.2


@contextlib.contextmanager
def writer_lock(store: Path, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the right to write `store`. Raises StoreError when another process still holds it after `wait_s` seconds."""
    until = time.monotonic() + wait_s
    path = store.parent / f".{store.name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            if time.monotonic() < until:
                time.sleep(_LOOK_EVERY_S)
                continue
            raise StoreError(
                f"{store} is being written by another process (pid {holder}). "
                "Wait for it to finish, or stop it; nothing was changed."
            ) from None
        # The holder before us may have removed the file between our open and our lock.
        with contextlib.suppress(FileNotFoundError):
            if os.fstat(descriptor).st_ino == path.stat().st_ino:
                break
        os.close(descriptor)
    try:
        with contextlib.suppress(OSError):  # a full disk: the number is only for the other's message
            os.ftruncate(descriptor, 0)
            os.write(descriptor, str(os.getpid()).encode())
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)
