"""Loaders that take tokens from shared memory: the same batches, without reading the store."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mmcache.store import FeatureStore
from mmcache.store.load.loader import Loader
from mmcache.store.load.modality_reader import ModalityReader
from mmcache.store.load.shared_memory import read_shared_tokens, shared_bytes


@pytest.mark.parametrize("k", [6, 300])
def test_batches_are_the_same_and_nothing_is_read(k: int, epic_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FeatureStore.open(epic_store)
    rows = store.rows("train")
    plain = list(Loader(store, None, rows, k=k, resident="ram").epoch(batch_size=7, seed=1, epoch=2))
    sources = [f"{modality}/{encoder}" for modality, encoder in store.arrays]
    every = np.flatnonzero(store.presence_matrix().any(axis=1))
    held = read_shared_tokens(store, sources, every, k)
    assert held.bytes == shared_bytes(store, sources, len(every), k)
    for parts in held.parts.values():
        for part in parts:
            part.flags.writeable = False  # as in shared memory
    store.shared_tokens = [held]
    monkeypatch.setattr(ModalityReader, "read", lambda *arguments: pytest.fail("it was read"))
    loader = Loader(store, None, rows, k=k, resident="auto")
    assert loader.resident == "ram"
    assert loader.residency.endswith("in shared memory already")
    for mine, theirs in zip(loader.epoch(batch_size=7, seed=1, epoch=2), plain, strict=True):
        np.testing.assert_array_equal(mine.rows, theirs.rows)
        for name, tokens in theirs.tokens.items():
            assert torch.equal(mine.tokens[name], tokens)


def test_tokens_that_do_not_serve_are_left_alone(epic_store: Path) -> None:
    store = FeatureStore.open(epic_store)
    rows = store.rows("train")
    held = read_shared_tokens(store, ["rgb/swin3d_demo"], rows, 6)
    store.shared_tokens = [held]
    for modalities, of, k in ((["rgb"], rows, 5), (["rgb", "imu"], rows, 6), (["rgb"], np.arange(len(store)), 6)):
        assert "already" not in Loader(store, modalities, of, k=k, resident="auto").residency
    assert "already" in Loader(store, ["rgb"], rows[2:5], k=6, resident="auto").residency
    assert Loader(store, ["rgb"], rows, k=6, resident="disk").resident == "disk"
