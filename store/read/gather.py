"""Read byte ranges of files into buffers, on several threads."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from mmcache.store.ground.errors import StoreError

_MAX_THREADS = 8
_ALONE_BYTES = 256 << 10  # one thread reads less than this faster than two


def gather(targets: list[memoryview], files: list[int], offsets: list[int]) -> None:
    """preadv each target from its open file at its offset. Raises StoreError when a file ends too early.

    All threads draw from one iterator, so a thread that starts late or waits for a slow disk does not delay the others.
    """
    if not targets:
        return
    shared = zip(targets, files, offsets, strict=True)
    helpers = min(_threads() - 1, len(targets) * len(targets[0]) // _ALONE_BYTES, len(targets) - 1)
    futures = [_pool().submit(_drain, shared) for _ in range(helpers)]
    try:
        _drain(shared)
    finally:
        # Threads that have not started have nothing left to do; the others finish their current chunk.
        errors = [future.exception() for future in futures if not future.cancel()]
    for error in errors:
        if error is not None:
            raise error


def _drain(pieces: Iterator[tuple[memoryview, int, int]]) -> None:
    for target, file, offset in pieces:
        done = os.preadv(file, [target], offset)
        while done < len(target):  # the kernel may read less than requested
            more = os.preadv(file, [target[done:]], offset + done)
            if more == 0:
                raise StoreError("ends inside a chunk: the file was truncated")
            done += more


@cache
def _threads() -> int:
    return min(_MAX_THREADS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, _threads() - 1), thread_name_prefix="mmcache-gather")


# A forked child has no threads; it makes its own pool when it first reads.
os.register_at_fork(after_in_child=_pool.cache_clear)
