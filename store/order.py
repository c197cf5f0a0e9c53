"""The order of samples: a function of (seed, epoch) alone, not of workers, residency or batch arithmetic."""

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def epoch_order(rows: NDArray[np.integer], seed: int, epoch: int) -> NDArray[np.int64]:
    """The rows of one epoch, shuffled. Which rows there are does not depend on the order they are given in."""
    return np.random.default_rng((seed, epoch)).permutation(np.sort(np.asarray(rows, np.int64)))


def batch_rows(order: NDArray[Any], batch_size: int) -> list[NDArray[np.int64]]:
    """Cut an order into batches; the last may be smaller, none is empty."""
    order = np.array(order, np.int64)
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def id_keys(ids: Iterable[str]) -> NDArray[np.uint64]:
    """A 64-bit number for each segment id, the same on every machine: what per-segment draws are keyed by."""
    digests = b"".join(hashlib.blake2b(name.encode(), digest_size=8).digest() for name in ids)
    return np.frombuffer(digests, "<u8").astype(np.uint64)


def keyed_uniform(keys: NDArray[np.uint64], *stream: int) -> NDArray[np.float64]:
    """One uniform number in [0, 1) for each key and stream, e.g. (seed, epoch, draw).

    Counter-based (the finaliser of splitmix64 over key and stream words), so a segment's draw depends on
    nothing else: not on its batch, its worker or the order of the epoch.
    """
    state = np.asarray(keys, np.uint64).copy()
    for word in stream:
        with np.errstate(over="ignore"):
            state = _mix(state + np.uint64(0x9E3779B97F4A7C15) * np.uint64((word + 1) % 2**64))
    return (_mix(state) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
