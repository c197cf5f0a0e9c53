"""Reuse the memory of batches: a new buffer costs one page fault per 4 KiB, which takes longer than reading."""

import weakref
from collections import defaultdict, deque

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray

_SPARE = 4  # free buffers of one kind that are kept


class BufferPool:
    """Allocates CPU tensors, and reuses the memory of those that are no longer referenced, directly or by a view.

    Args:
        pinned: page-locked memory, from which copies to a GPU are asynchronous. torch reuses it when they are done.
    """

    def __init__(self, pinned: bool = False) -> None:
        self._pinned = pinned
        self._free: dict[tuple, deque[NDArray]] = defaultdict(deque)  # (shape of a row, dtype) -> buffers

    def take(self, rows: int, shape: tuple[int, ...], dtype: DTypeLike) -> torch.Tensor:
        """An uninitialised tensor (rows, *shape) that no other batch uses."""
        if self._pinned:
            return torch.empty((rows, *shape), dtype=torch.from_numpy(np.empty(0, dtype)).dtype, pin_memory=True)
        free = self._free[shape, np.dtype(dtype)]
        try:
            buffer = free.pop()  # the last one returned is most likely still in the processor's cache
        except IndexError:
            buffer = None
        if buffer is None or len(buffer) < rows:
            buffer = np.empty((rows, *shape), dtype)
        # The tensor's storage refers to this view, so the view ends with the last tensor that shares the memory.
        view = buffer[:rows]
        weakref.finalize(view, _give_back, free, buffer).atexit = False
        return torch.from_numpy(view)


def _give_back(free: "deque[NDArray]", buffer: NDArray) -> None:
    if len(free) < _SPARE:
        free.append(buffer)
