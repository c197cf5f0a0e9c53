"""What is fuzzed: a reader, a sound input for it, and the ways in which that input is damaged."""

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

Arrays = Iterable[NDArray[np.generic]]


@dataclasses.dataclass(frozen=True)
class Target:
    """One reader of user files.

    Attributes:
        write: makes a sound input below a folder and names the files that are damaged, one at a time.
        read: reads that input as the program does, and gives the arrays that must not be zero: what is said to be zero,
            as in a note, is left out.
        edits: a strategy of functions from bytes to bytes (edits.py).
        refusals: the exceptions that are messages for the user.
    """

    name: str
    write: Callable[[Path], list[Path]]
    read: Callable[[Path], Arrays]
    edits: st.SearchStrategy[Callable[[bytes], bytes]]
    refusals: tuple[type[Exception], ...]
