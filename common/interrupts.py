"""Ctrl-C, and SIGTERM, which batch systems send when time is up: both end a command in the same orderly way."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

from mmcache.store.ground.errors import MmcacheError

_SHELL_ADDS = 128  # to a signal's number, in the exit code of a program that the signal ended
_last = signal.SIGINT


class Interrupted(MmcacheError):
    """The work was told to stop, and has kept what was done. Exit code 130 after Ctrl-C, 143 after SIGTERM."""

    @property
    def exit_code(self) -> int:  # type: ignore[override]
        return interrupted_code()


def interrupted_code() -> int:
    """The exit code of a command that was interrupted: 130 after Ctrl-C, 143 after SIGTERM."""
    return _SHELL_ADDS + _last


@contextlib.contextmanager
def terminate_as_interrupt() -> Iterator[None]:
    """Have SIGTERM raise KeyboardInterrupt, as Ctrl-C does. Only the main thread can; elsewhere nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: Any) -> None:
    global _last
    _last = signal.Signals(number)
    raise KeyboardInterrupt
