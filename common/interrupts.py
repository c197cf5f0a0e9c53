"""End a command in the same orderly way on Ctrl-C and on SIGTERM, which batch systems send when time is up."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

from mmcache.store.ground.errors import MmcacheError

_SHELL_ADDS = 128  # shells add this to the number of the signal that ended a program
_last = signal.SIGINT


class Interrupted(MmcacheError):
    """The work was interrupted and its results so far are kept. Exit code 130 after Ctrl-C, 143 after SIGTERM."""

    @property
    def exit_code(self) -> int:  # type: ignore[override]
        return interrupted_code()


def interrupted_code() -> int:
    """The exit code of a command that was interrupted: 130 after Ctrl-C, 143 after SIGTERM."""
    return _SHELL_ADDS + _last


@contextlib.contextmanager
def terminate_as_interrupt() -> Iterator[None]:
    """Make SIGTERM raise KeyboardInterrupt, as Ctrl-C does. In other threads than the main one, this has no effect."""
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
