"""Stores of random tokens and teachers with random logits, for benchmarks of what is done with them."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from mmcache.fuse.teachers.cached_logits import CachedLogits
from mmcache.fuse.teachers.signals import TeacherSignals
from mmcache.store import FeatureStore
from mmcache.store.format.fingerprint import Fingerprint
from mmcache.store.format.layout import StoreMeta
from mmcache.store.write.add_tokens import add_tokens
from mmcache.store.write.create import create_store
from mmcache.store.write.shard_commit import ShardCommit

MODALITIES = ("rgb", "flow", "audio")
TASKS = {"verb": 97, "noun": 300}  # as many classes as EPIC-KITCHENS has
TESTED = 50


class Shape(NamedTuple):
    """Of a store: segments, tokens of each modality, and how many numbers a token has."""

    segments: int
    tokens: int
    width: int


def write_store(path: Path, shape: Shape) -> None:
    """Random tokens and labels; 10 segments a video, the last 50 of them the test split."""
    segments, tokens, width = shape
    rows, random = np.arange(segments), np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "id": [f"s{row:05}" for row in rows],
            "video": [f"v{row // 10:04}" for row in rows],
            "start_s": rows * 1.0,
            "stop_s": rows + 0.5,
            "split": np.where(rows < segments - TESTED, "train", "test"),
            **{task: random.integers(count, size=segments) for task, count in TASKS.items()},
        }
    )
    classes = {task: [f"{task}{i}" for i in range(count)] for task, count in TASKS.items()}
    create_store(path, table, StoreMeta("bench", classes, {"train": segments - TESTED, "test": TESTED}, "test"))
    for modality in MODALITIES:
        mark = Fingerprint(f"random_{modality}", "random:0", "0" * 64, {}, None, 1)
        writer = add_tokens(path, modality, mark, tokens, width)
        for shard in range(writer.grid.n_shards):
            commit = ShardCommit(writer, shard)
            for row in writer.grid.rows(shard):
                commit.put(row, random.standard_normal((1, tokens, width), np.float32).astype(np.float16))
            commit.commit()


def random_teacher(store: FeatureStore) -> TeacherSignals:
    """A teacher that has logits for every segment and subset."""
    random, names = np.random.default_rng(1), list(MODALITIES)
    shape = (len(store), 1, 2 ** len(names) - 1)
    logits = {task: random.standard_normal((*shape, n), np.float32).astype(np.float16) for task, n in TASKS.items()}
    return TeacherSignals(CachedLogits(names, logits), names, list(TASKS))
