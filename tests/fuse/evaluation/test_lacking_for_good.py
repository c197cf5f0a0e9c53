"""No part of training reads what it is made to lack: the model, a loss, a teacher, or the run it starts from."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmcache.fuse.data.missing import with_missing
from mmcache.fuse.data.validation import split_validation
from mmcache.fuse.strategies import STRATEGIES
from mmcache.store import FeatureStore
from mmcache.store.format.fingerprint import Fingerprint
from mmcache.store.load.order import id_keys
from mmcache.store.write.add_tokens import add_tokens
from mmcache.store.write.create import create_store
from mmcache.store.write.shard_commit import ShardCommit

MISSING = {"audio": 0.5}
QUICK = {
    "width": 16, "depth": 2, "heads": 2, "k": 8, "epochs": 2, "warmup": 0.0, "batch_size": 16, "device": "cpu",
    "train_missing": MISSING,
}  # fmt: skip


@pytest.fixture(scope="module")
def stores(write_store: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two stores that differ in the tokens that training is made to lack, and in nothing else."""
    first = write_store()
    store = FeatureStore.open(first)
    rows = store.rows("train")
    kept = with_missing(
        store.presence_matrix()[rows], id_keys(store.segments["id"])[rows], 0, MISSING, store.modalities
    )
    lacking = rows[~kept[:, store.modalities.index("audio")]]
    assert len(lacking) == round(0.5 * len(rows))
    lacking = np.intersect1d(lacking, split_validation(store, rows, 0.1, 0)[0])  # others pick the epoch
    second = tmp_path_factory.mktemp("other") / "s.zarr"
    create_store(second, store.segments, store.meta)
    for modality in store.modalities:
        values = store.tokens[modality].read(np.arange(len(store)))
        if modality == "audio":
            values[lacking] = 5 - 3 * values[lacking]
        writer = add_tokens(
            second, modality, Fingerprint(f"enc_{modality}", "random:0", "0" * 64, {}, None, 1), *values.shape[1:]
        )
        for shard in range(writer.grid.n_shards):
            commit = ShardCommit(writer, shard)
            for row in writer.grid.rows(shard):
                commit.put(row, values[row][None])
            commit.commit()
    return first, second


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_other_tokens_in_what_is_lacking_change_no_loss(
    strategy: str, stores: tuple[Path, Path], base_of: Callable, train_quickly: Callable, tmp_path: Path
) -> None:
    losses = []
    for i, store in enumerate(stores):
        options: dict[str, Any] = {**QUICK, "store": store}
        base = base_of(strategy)
        if base is not None:
            options[base[0]] = train_quickly(base[1], {**options, "out": tmp_path / f"base{i}"}).path
        run = train_quickly(strategy, {**options, "out": tmp_path / f"run{i}"})
        lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
        losses.append([line["loss"] for line in lines])
    assert losses[0] == losses[1]
