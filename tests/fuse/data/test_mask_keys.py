"""Masks belong to segments: whatever batches, ranks, threads and processes they come through (methods.md 0)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chisquare

from mmcache.fuse.data.samplers import SAMPLERS, Draw, draw_masks
from mmcache.fuse.data.subsets import subset_index, subsets
from mmcache.store import FeatureStore
from mmcache.store.load.loader import Loader
from mmcache.store.load.order import id_keys

A_SEGMENT = [sampler for sampler in SAMPLERS if not sampler.endswith("_a_batch")]
DROP, SEED, EPOCH = 0.4, 3, 2
PROGRAM = """
import json, sys
import numpy as np
from mmcache.fuse.data.samplers import draw_masks
from mmcache.fuse.data.subsets import subset_index
from mmcache.store.load.order import id_keys
samplers, ids, drop, seed, epoch = json.loads(sys.argv[1])
present = np.ones((len(ids), 3), bool)
drawn = {sampler: draw_masks(sampler, present, id_keys(ids), seed, epoch, drop, 1, 5) for sampler in samplers}
print(json.dumps({sampler: subset_index(kept).tolist() for sampler, kept in drawn.items()}))
"""


@pytest.fixture(scope="module")
def store(epic_store: Path) -> FeatureStore:
    return FeatureStore.open(epic_store)


def drawn(
    sampler: str, store: FeatureStore, batch_size: int, world_size: int, resident: str, epoch: int
) -> dict[int, tuple[bool, ...]]:
    """Row -> mask, over one epoch of train as the ranks of a run would draw it."""
    rows, keys = store.rows("train"), id_keys(store.segments["id"])
    loader = Loader(store, None, rows, resident=resident)
    out = {}
    for rank in range(world_size):
        batches = loader.epoch(batch_size=batch_size, seed=SEED, epoch=epoch, rank=rank, world_size=world_size)
        for step, batch in enumerate(batches):
            kept = draw_masks(sampler, batch.present.numpy(), keys[batch.rows], SEED, EPOCH, DROP, 1, step)
            out |= dict(zip(batch.rows.tolist(), map(tuple, kept.tolist()), strict=True))
    return out


@pytest.mark.holds("shared", "0 masks are keyed by (seed, epoch, segment id)")
@pytest.mark.parametrize("sampler", A_SEGMENT)
def test_masks_are_the_same_for_any_batches_ranks_readers_and_order(sampler: str, store: FeatureStore) -> None:
    """`disk` reads in a thread of its own; other epochs shuffle the same segments into another order."""
    first = drawn(sampler, store, 8, 1, "ram", 0)
    assert sorted(first) == sorted(store.rows("train").tolist())
    for way in ((1, 1, "ram", 0), (36, 1, "disk", 1), (5, 2, "disk", 0), (3, 3, "ram", 2)):
        assert drawn(sampler, store, *way) == first, way


@pytest.mark.holds("shared", "0 masks are keyed by (seed, epoch, segment id)")
def test_masks_are_the_same_in_every_process() -> None:
    """No draw hangs on what a process makes up for itself, such as Python's hashes."""
    ids = [f"P01_{i}" for i in range(300)]
    found = []
    for salt in ("1", "2"):
        arguments = [sys.executable, "-c", PROGRAM, json.dumps([list(SAMPLERS), ids, DROP, SEED, EPOCH])]
        environment = {**os.environ, "PYTHONHASHSEED": salt}
        found.append(json.loads(subprocess.run(arguments, env=environment, check=True, capture_output=True).stdout))
    present = np.ones((len(ids), 3), bool)
    for sampler in SAMPLERS:
        here = subset_index(draw_masks(sampler, present, id_keys(ids), SEED, EPOCH, DROP, 1, 5)).tolist()
        assert found[0][sampler] == found[1][sampler] == here


# Samplers that are wrong in ways that a slip of the pen makes, and what each is meant to be over three modalities.
WRONG = {
    "keeps where it should drop": ("bernoulli_keep_one", lambda draw: draw.present & (draw.each() < draw.drop)),
    "one draw for all modalities": (
        "bernoulli_keep_one",
        lambda draw: SAMPLERS["bernoulli_keep_one"].draw(_shared(draw)),
    ),
    "the first stays, not a random one": ("bernoulli_keep_one", lambda draw: _first_stays(draw)),
    "counts from 0": (
        "uniform_count",
        lambda draw: SAMPLERS["uniform_count"].draw(draw) & (draw.uniform(0) > 0.02)[:, None],
    ),
    "subsets by count": ("uniform_subset", SAMPLERS["uniform_count"].draw),
    "counts by subset": ("uniform_count", SAMPLERS["uniform_subset"].draw),
    "q for 1 - q": ("complete_else_count", lambda draw: SAMPLERS["complete_else_count"].draw(_turned(draw))),
    "the target of another": ("target_only", lambda draw: np.roll(SAMPLERS["target_only"].draw(draw), 1, axis=1)),
}


def _shared(draw: Draw) -> Draw:
    class Shared(Draw):
        def each(self) -> NDArray[np.float64]:
            return np.repeat(self.uniform(0)[:, None], 3, axis=1)

    return Shared(**vars(draw))


def _first_stays(draw: Draw) -> NDArray[np.bool_]:
    kept = draw.present & (draw.each() >= draw.drop)
    kept[~kept.any(axis=1), 0] = True
    return kept


def _turned(draw: Draw) -> Draw:
    return Draw(**{**vars(draw), "drop": 1 - draw.drop})


@pytest.mark.holds("shared", "0 P(S) of every sampler, by chi-square")
@pytest.mark.parametrize("slip", WRONG)
def test_the_chi_square_sees_a_wrong_sampler(slip: str) -> None:
    """The test by which samplers are held to their distributions has the power to tell them from near ones."""
    sampler, wrong = WRONG[slip]
    n, size = 40_000, subsets(3).sum(axis=1)
    draw = Draw(np.ones((n, 3), bool), id_keys(f"s{i}" for i in range(n)), 7, 3, DROP, 1, 0)
    lacks_target = (size == 2) & ~subsets(3)[:, 1]
    ways = np.array([0, 3, 3, 1])[size]
    expected = {
        "bernoulli_keep_one": (1 - DROP) ** size * DROP ** (3 - size) + (size == 1) * DROP**3 / 3,
        "uniform_count": 1 / (3 * ways),
        "uniform_subset": np.full(7, 1 / 7),
        "complete_else_count": np.where(size == 3, 1 - DROP, DROP / (2 * ways)),
        "target_only": np.where(size == 3, 1 - DROP, DROP * lacks_target),
    }[sampler]
    assert expected.sum() == pytest.approx(1)
    assert _follows(SAMPLERS[sampler].draw(draw), expected)
    assert not _follows(wrong(draw), expected)


def _follows(kept: NDArray[np.bool_], expected: NDArray[np.float64]) -> bool:
    observed = np.bincount(subset_index(kept) + 1, minlength=8)
    if observed[0] or observed[1:][expected == 0].any():
        return False
    possible = expected > 0
    return chisquare(observed[1:][possible], len(kept) * expected[possible]).pvalue > 1e-3
