"""Batch memory that is used again: a fresh buffer costs a page fault for every 4 KiB, more than reading does."""

import weakref
from collections import defaultdict, deque

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray

_SPARE = 4  # free buffers of one kind that are kept


class BufferPool:
    """Hands out CPU tensors, and takes their memory back once nobody holds the tensor or a view of it any more.

    Args:
        pinned: page-locked memory, from which copies to a GPU run by themselves. torch reuses it when they are done.
    """

    def __init__(self, pinned: bool = False) -> None:
        self._pinned = pinned
        self._free: dict[tuple, deque[NDArray]] = defaultdict(deque)  # (shape of a row, dtype) -> buffers

    def take(self, rows: int, shape: tuple[int, ...], dtype: DTypeLike) -> torch.Tensor:
        """(rows, *shape), uninitialised; nobody else has it."""
        if self._pinned:
            return torch.empty((rows, *shape), dtype=torch.from_numpy(np.empty(0, dtype)).dtype, pin_memory=True)
        free = self._free[shape, np.dtype(dtype)]
        try:
            buffer = free.pop()  # the last one back: most likely still in the processor's cache
        except IndexError:
            buffer = None
        if buffer is None or len(buffer) < rows:
            buffer = np.empty((rows, *shape), dtype)
        # The tensor's storage holds this very view, so its end is the end of the last tensor that shares the memory.
        view = buffer[:rows]
        weakref.finalize(view, _give_back, free, buffer).atexit = False
        return torch.from_numpy(view)


def _give_back(free: "deque[NDArray]", buffer: NDArray) -> None:
    if len(free) < _SPARE:
        free.append(buffer)
