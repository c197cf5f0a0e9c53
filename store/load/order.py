"""The order of samples, which depends on (seed, epoch) alone, not on workers, residency or batch size."""

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcache.store.ground.errors import ConfigError


def epoch_order(rows: NDArray[np.integer], seed: int, epoch: int) -> NDArray[np.int64]:
    """The rows of one epoch, shuffled. The result does not depend on the order of `rows`."""
    return np.random.default_rng((seed, epoch)).permutation(np.sort(np.asarray(rows, np.int64)))


def balanced_order(rows: NDArray[np.integer], labels: NDArray[np.integer], seed: int, epoch: int) -> NDArray[np.int64]:
    """An epoch in which every class occurs equally often: as many draws as there are labelled rows.

    The rows of a class are drawn in turn, shuffled again in each round: within an epoch no row of a class is drawn
    twice before all of them were drawn once. Rows without a label (-1) are left out.

    Args:
        rows: (n,) row numbers.
        labels: (n,) class of each.
    """
    ascending = np.argsort(rows, kind="stable")
    rows, labels = np.asarray(rows, np.int64)[ascending], np.asarray(labels)[ascending]
    random = np.random.default_rng((seed, epoch))
    classes = random.permutation(np.unique(labels[labels >= 0]))  # the first few get one draw more
    total = int((labels >= 0).sum())
    drawn = []
    for place, label in enumerate(classes.tolist()):
        members = rows[labels == label]
        count = total // len(classes) + (place < total % len(classes))
        rounds = [random.permutation(members) for _ in range(-(-count // len(members)))]
        drawn.append(np.concatenate([*rounds, rows[:0]])[:count])
    return random.permutation(np.concatenate([*drawn, rows[:0]]))


def batch_rows(order: NDArray[Any], batch_size: int, rank: int = 0, world_size: int = 1) -> list[NDArray[np.int64]]:
    """Cut an order into the batches of one rank; the last may be smaller, none is empty.

    Step s of all ranks together has the rows order[s * batch_size * world_size :][: batch_size * world_size], whatever
    the world size. No row goes to two ranks and none is lost. All ranks have the same number of batches, as training
    in step needs, as long as there are as many rows as ranks and batches have more than one row.

    Raises:
        ConfigError: batch_size < 1, or no such rank.
    """
    if batch_size < 1:
        raise ConfigError(f"batch size {batch_size}: at least 1 is needed")
    if not 0 <= rank < world_size:
        raise ConfigError(f"rank {rank} of a world of {world_size}: ranks go from 0 to world size - 1")
    order = np.array(order, np.int64)
    own = order[rank::world_size]
    batches = [own[start : start + batch_size] for start in range(0, len(own), batch_size)]
    steps = -(-len(order) // (batch_size * world_size))
    if len(batches) == steps - 1 and batches and len(batches[-1]) > 1:  # others have a row and so a step more
        batches[-1:] = [batches[-1][:-1], batches[-1][-1:]]
    return batches


def id_keys(ids: Iterable[str]) -> NDArray[np.uint64]:
    """A 64-bit key for each segment id, the same on every machine, for draws per segment."""
    digests = b"".join(hashlib.blake2b(name.encode(), digest_size=8).digest() for name in ids)
    return np.frombuffer(digests, "<u8").astype(np.uint64)


def keyed_uniform(keys: NDArray[np.uint64], *stream: int) -> NDArray[np.float64]:
    """One uniform number in [0, 1) for each key and stream, e.g. (seed, epoch, draw).

    Counter-based (the finaliser of splitmix64 over key and stream words): a segment's draw does not depend on its
    batch, its worker or the order of the epoch.
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
