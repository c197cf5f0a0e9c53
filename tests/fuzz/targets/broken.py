"""Readers with one fault each, by which the fuzzer itself is tested."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from edits import raw
from target import Arrays, Target

_SOUND = b"sound" * 200


def _target(name: str, when_damaged: Callable[[], Arrays]) -> Target:
    def write(folder: Path) -> list[Path]:
        (folder / "a.bin").write_bytes(_SOUND)
        return [folder / "a.bin"]

    def read(folder: Path) -> Arrays:
        return when_damaged() if (folder / "a.bin").read_bytes() != _SOUND else [np.ones(3)]

    return Target(name, write, read, raw(), (ValueError,))


def _refuses() -> Arrays:
    raise ValueError("it is damaged")


def _says_nothing() -> Arrays:
    raise ValueError


def _raises() -> Arrays:
    raise KeyError("a bug")


def _dies() -> Arrays:
    os.kill(os.getpid(), signal.SIGSEGV)
    return []


def _hangs() -> Arrays:
    time.sleep(60)
    return []


def _fills_memory() -> Arrays:
    return [np.ones(16 << 20)[:1]]  # 128 MiB


def _gives_zeros() -> Arrays:
    return [np.ones(2), np.zeros(2)]


TARGETS = (
    _target("reads", lambda: [np.ones(2)]),
    _target("refuses", _refuses),
    _target("says nothing", _says_nothing),
    _target("raises", _raises),
    _target("dies", _dies),
    _target("hangs", _hangs),
    _target("fills memory", _fills_memory),
    _target("gives zeros", _gives_zeros),
)
