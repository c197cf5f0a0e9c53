"""What an epoch is made of: the same whoever asks, and as many batches as were said."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmcache.fuse.data.batches import Batches
from mmcache.fuse.data.rows import choose_rows
from mmcache.fuse.options.resolve import resolve_options
from mmcache.store import FeatureStore
from mmcache.store.load.loader import Loader

SOURCES = {"audio": "audio/ast_demo", "imu": "imu/imu_demo", "rgb": "rgb/swin3d_demo"}
OPTIONS = {"batch_size": 8, "epochs": 4, "k": 6, "drop": 0.5, "sampler": "bernoulli_keep_one"}
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "balanced": {"balance": "verb"},
    "aligned": {"strategy": "mmg", "align": 1.0, "align_share": 0.5, "train_modalities": ["rgb"]},
    "episodes": {"strategy": "mmg", "prototypes": 1.0, "meta_share": 0.5, "few_shot_task": "verb"}
    | {"ways": 2, "shots": 1, "queries": 1},
    "lacking": {"train_missing": {"imu": 0.5}},
}


@pytest.fixture
def make(epic_store: Path) -> Callable[..., Batches]:
    def of(strategy: str = "skip", **chosen: Any) -> Batches:
        options = resolve_options(strategy, {"test": {"store": epic_store, **OPTIONS, **chosen}})
        store = FeatureStore.open(epic_store)
        rows = choose_rows(options, store, SOURCES, "validation")
        loader = Loader(store, list(SOURCES.values()), rows.every, k=options.data.k, resident="ram")
        return Batches(options, store, loader, rows, list(SOURCES))

    return of


@pytest.mark.parametrize("kind", KINDS)
def test_every_epoch_has_as_many_batches_as_it_says_and_the_same_ones_again(
    kind: str, make: Callable[..., Batches]
) -> None:
    one, other = make(**KINDS[kind]), make(**KINDS[kind])
    for epoch in (3, 0):  # in any order
        drawn, again = list(one.draw(epoch)), list(other.draw(epoch))
        assert len(drawn) == len(again) == one.count(epoch)
        for (batch, kept), (batch2, kept2) in zip(drawn, again, strict=True):
            assert (batch.rows == batch2.rows).all()
            assert (kept == kept2).all()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_kept_is_there_and_something_always_is(kind: str, make: Callable[..., Batches]) -> None:
    batches = make(**KINDS[kind])
    for epoch in (0, 3):
        for batch, kept in batches.draw(epoch):
            assert kept.any(axis=1).all()
            assert not (kept & ~batch.present.numpy()).any()
            assert set(batch.rows) <= {*batches.rows.train, *batches.rows.align}


def test_tokens_that_somebody_else_read_give_the_same_batches(make: Callable[..., Batches]) -> None:
    batches = make()
    for (a, kept), (b, kept2) in zip(batches.draw(1), batches.draw(1, make().tokens(1)), strict=True):
        assert (kept == kept2).all()
        assert all(torch.equal(a.tokens[name], b.tokens[name]) for name in a.tokens)


def test_the_order_depends_on_the_seed_and_not_on_the_mask_sampler(make: Callable[..., Batches]) -> None:
    assert make().order_key == make(drop=0.1).order_key == make(drop=None, sampler="uniform_subset").order_key
    assert make().order_key != make(seed=1).order_key


def test_epochs_that_align_read_what_has_no_label_and_keep_it_all(make: Callable[..., Batches]) -> None:
    batches = make(**KINDS["aligned"])
    for batch, kept in batches.draw(0):
        assert (kept == batch.present.numpy()).all()
    later = np.concatenate([batch.rows for batch, _ in batches.draw(3)])
    assert set(later) == set(batches.rows.train)
    assert set(later) < set(batches.rows.align)
    assert all(not kept[:, :2].any() for _, kept in batches.draw(3))  # labels are learned from rgb alone
