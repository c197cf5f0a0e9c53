import gc
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mmcache.store import ConfigError, FeatureStore, Presence, StoreError, k_average
from mmcache.store.format.small_array import write_chunk
from mmcache.store.load.loader import Batch, Loader
from mmcache.store.load.order import epoch_order

N = 23
PRESENCE = np.random.default_rng(0).choice([Presence.CACHED, Presence.MISSING], N, p=[0.8, 0.2])
LENGTHS = np.where(PRESENCE[:, None] == Presence.CACHED, np.random.default_rng(1).integers(1, 10, (N, 1)), 0)


@pytest.fixture(scope="module")
def store(make_store: Callable[..., Path], random_tokens: Callable[..., NDArray[np.floating]]) -> FeatureStore:
    """23 segments: audio of up to 9 tokens, rgb of 6, both float16, and float32 boxes everywhere."""
    tokens = {
        "audio": random_tokens(N, 1, 9, 4, seed=1),
        "rgb": random_tokens(N, 2, 6, 3, seed=2),
        "boxes": random_tokens(N, 1, 2, 2, dtype="float32", seed=3),
    }
    for row in range(N):
        tokens["audio"][row, 0, LENGTHS[row, 0] :] = 0
    return FeatureStore.open(make_store(tokens, 4, {"audio": PRESENCE, "rgb": PRESENCE[::-1]}, {"audio": LENGTHS}))


def same(one: Batch, other: Batch) -> bool:
    """Equal in every value, type and name."""
    tensors = [(one.present, other.present)]
    for field in ("tokens", "lengths", "labels"):
        ours, theirs = getattr(one, field), getattr(other, field)
        assert list(ours) == list(theirs)
        tensors += [(ours[name], theirs[name]) for name in ours]
    assert one.modalities == other.modalities
    assert one.views.tolist() == other.views.tolist()
    assert all(a.dtype == b.dtype for a, b in tensors)
    return one.rows.tolist() == other.rows.tolist() and all(torch.equal(a, b) for a, b in tensors)


@pytest.mark.parametrize("k", [None, 4, 100])
def test_ram_and_disk_give_the_same_batches(store: FeatureStore, k: int | None) -> None:
    rows = store.rows("train")
    loaders = [Loader(store, None, rows, k=k, resident=resident) for resident in ("disk", "ram", "auto")]
    assert [loader.resident for loader in loaders] == ["disk", "ram", "ram"]
    for epoch in range(2):
        epochs = [list(loader.epoch(batch_size=4, seed=5, epoch=epoch)) for loader in loaders]
        assert len({len(batches) for batches in epochs}) == 1
        assert all(
            same(first, other) for batches in zip(*epochs, strict=True) for first in batches for other in batches
        )


@pytest.mark.parametrize("resident", ["disk", "ram"])
def test_every_row_comes_exactly_once_an_epoch(store: FeatureStore, resident: str) -> None:
    rows = store.rows()
    loader = Loader(store, None, rows, resident=resident)
    for epoch in range(3):
        batches = list(loader.epoch(batch_size=5, seed=0, epoch=epoch))
        seen = np.concatenate([batch.rows for batch in batches])
        assert seen.tolist() == epoch_order(rows, 0, epoch).tolist()
        assert sorted(seen.tolist()) == rows.tolist()
        assert [len(batch.rows) for batch in batches[:-1]] == [5] * (len(batches) - 1)


@pytest.mark.parametrize("resident", ["disk", "ram"])
@pytest.mark.parametrize("start", [0, 1, 3, 100])
def test_a_run_goes_on_in_mid_epoch(store: FeatureStore, resident: str, start: int) -> None:
    loader = Loader(store, ["audio", "rgb"], store.rows(), resident=resident)
    whole = list(loader.epoch(batch_size=4, seed=2, epoch=7))
    rest = list(loader.epoch(batch_size=4, seed=2, epoch=7, start=start))
    assert len(rest) == max(0, len(whole) - start)
    assert all(same(a, b) for a, b in zip(rest, whole[start:], strict=True))


@pytest.mark.parametrize("resident", ["disk", "ram"])
@pytest.mark.parametrize("k", [1, 4, 5, 6, 9, 50])
def test_shortened_tokens_are_the_k_average_of_the_stored_ones(store: FeatureStore, resident: str, k: int) -> None:
    rows = store.rows()
    loader = Loader(store, ["audio", "rgb", "boxes"], rows, k=k, resident=resident)
    for batch in loader.in_order(batch_size=6):
        for name, true_lengths in (("audio", LENGTHS[batch.rows, 0]), ("rgb", None), ("boxes", None)):
            short, lengths = k_average(store.tokens[name].read(batch.rows), k, true_lengths)
            assert batch.tokens[name].shape[1:] == (loader.n_tokens(name), loader.width(name))
            np.testing.assert_array_equal(batch.tokens[name], short)
            np.testing.assert_array_equal(batch.lengths[name], lengths)


def test_in_order_is_as_the_rows_stand(store: FeatureStore) -> None:
    rows = np.array([7, 3, 3, 0, 12])
    loader = Loader(store, ["boxes"], np.arange(N))
    batches = list(loader.in_order(batch_size=2, rows=rows))
    assert [batch.rows.tolist() for batch in batches] == [[7, 3], [3, 0], [12]]
    np.testing.assert_array_equal(batches[0].tokens["boxes"], store.tokens["boxes"].read(rows[:2]))


@pytest.mark.parametrize("resident", ["disk", "ram"])
def test_an_epoch_of_some_of_the_rows(store: FeatureStore, resident: str) -> None:
    loader = Loader(store, None, store.rows(), resident=resident)
    some = store.rows("validation")
    seen = np.concatenate([batch.rows for batch in loader.epoch(batch_size=2, seed=1, epoch=0, rows=some)])
    assert seen.tolist() == epoch_order(some, 1, 0).tolist()


def test_rows_that_are_not_resident_are_refused_and_not_replaced_by_others(store: FeatureStore) -> None:
    loader = Loader(store, ["boxes"], np.array([0, 1, 2]), resident="ram")
    assert loader.batch(np.array([2, 0])).rows.tolist() == [2, 0]
    with pytest.raises((ValueError, IndexError), match="3"):
        loader.batch(np.array([0, 3]))


def test_bytes_are_those_of_the_resident_tokens(store: FeatureStore) -> None:
    rows = np.arange(5)
    loader = Loader(store, None, rows, k=3, resident="ram")
    tokens = loader.batch(rows).tokens
    views = {name: store.tokens[name].shape[1] for name in tokens}
    assert loader.bytes == sum(views[m] * values.nelement() * values.element_size() for m, values in tokens.items())


@pytest.mark.parametrize("resident", ["disk", "ram"])
@pytest.mark.parametrize("k", [None, 3])
def test_views_are_drawn_for_training_and_the_centre_one_is_read_in_order(
    store: FeatureStore, resident: str, k: int | None
) -> None:
    """rgb has two views; audio and boxes, with one, have it in turn."""
    loader = Loader(store, None, store.rows(), k=k, resident=resident)
    assert loader.n_views == 2
    there = store.presence_matrix(["rgb"])[:, 0]

    def expected(rows: np.ndarray, views: np.ndarray) -> np.ndarray:
        both = np.stack([store.tokens["rgb"].read(rows, view) for view in (0, 1)])
        chosen = both[views, np.arange(len(rows))] * there[rows][:, None, None]
        return chosen if k is None else k_average(chosen, k)[0]

    drawn: dict[int, list[int]] = {}
    for epoch in range(8):
        for batch in loader.epoch(batch_size=5, seed=1, epoch=epoch):
            np.testing.assert_array_equal(batch.tokens["rgb"], expected(batch.rows, batch.views))
            one = loader.batch(batch.rows)
            assert torch.equal(batch.tokens["audio"], one.tokens["audio"])
            assert torch.equal(batch.lengths["audio"], one.lengths["audio"])
            for row, view in zip(batch.rows.tolist(), batch.views.tolist(), strict=True):
                drawn.setdefault(row, []).append(view)
    assert all(set(views) == {0, 1} for views in drawn.values())
    again = {row: [] for row in drawn}
    for epoch in range(8):  # whatever the batches
        for batch in loader.epoch(batch_size=3, seed=1, epoch=epoch):
            for row, view in zip(batch.rows.tolist(), batch.views.tolist(), strict=True):
                again[row].append(view)
    assert again == drawn
    for batch in loader.in_order(batch_size=4):
        assert not batch.views.any()
        np.testing.assert_array_equal(batch.tokens["rgb"], expected(batch.rows, batch.views))
    for batch in loader.in_order(batch_size=4, view=1):
        assert batch.views.all()
        np.testing.assert_array_equal(batch.tokens["rgb"], expected(batch.rows, batch.views))
    for wrong in (2, -1):
        with pytest.raises(ConfigError, match=f"view {wrong}: 2 views are cached"):
            loader.in_order(batch_size=4, view=wrong)


def test_no_rows_are_no_batches(store: FeatureStore) -> None:
    for resident in ("disk", "ram"):
        loader = Loader(store, None, np.array([], np.int64), resident=resident)
        assert list(loader.epoch(batch_size=4, seed=0, epoch=0)) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resident": "memory"}, "resident must be one of auto, gpu, ram, disk, got 'memory'"),
        ({"resident": "gpu"}, "resident gpu needs a CUDA device; this run's device is cpu"),
        ({"modalities": ["rgb", "adio"]}, r"unknown tokens 'adio'\. Did you mean 'audio'\?"),
    ],
)
def test_what_cannot_be_is_refused(store: FeatureStore, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Loader(store, **{"modalities": None, "rows": np.arange(3), **options})


def test_two_epochs_at_once_do_not_mix(store: FeatureStore) -> None:
    loader = Loader(store, None, store.rows(), resident="disk")
    alone = {epoch: list(loader.epoch(batch_size=3, seed=0, epoch=epoch)) for epoch in range(2)}
    together = zip(*(loader.epoch(batch_size=3, seed=0, epoch=epoch) for epoch in range(2)), strict=True)
    for i, (first, second) in enumerate(together):
        assert same(first, alone[0][i])
        assert same(second, alone[1][i])


def test_ranks_divide_an_epoch_of_the_store(store: FeatureStore) -> None:
    whole = np.concatenate([batch.rows for batch in store.batches(None, batch_size=6, seed=1)])
    ranks = [list(store.batches(None, batch_size=2, seed=1, rank=rank, world_size=3)) for rank in range(3)]
    assert len({len(batches) for batches in ranks}) == 1
    for step in range(2):
        together = np.concatenate([batches[step].rows for batches in ranks])
        assert sorted(together.tolist()) == sorted(whole[step * 6 : step * 6 + 6].tolist())
    seen = np.concatenate([batch.rows for batches in ranks for batch in batches])
    assert sorted(seen.tolist()) == sorted(whole.tolist())


@pytest.mark.parametrize("resident", ["disk", "ram"])
def test_a_balanced_epoch_has_every_class_equally_often(store: FeatureStore, resident: str) -> None:
    batches = list(store.batches("train", batch_size=4, seed=2, balance="noun", resident=resident))
    labels = np.concatenate([batch.labels["noun"].numpy() for batch in batches])
    counts = np.bincount(labels)
    assert counts.max() - counts.min() <= 1
    for batch in batches:
        np.testing.assert_array_equal(batch.labels["noun"], store.labels("noun")[batch.rows])


@pytest.mark.parametrize("options", [{"start": -1}, {"balance": "colour"}, {"rank": 3}, {"batch_size": 0}, {"k": 0}])
def test_what_cannot_be_is_said_before_the_first_batch(store: FeatureStore, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        store.batches(**options)


def test_a_later_start_is_the_rest_of_the_same_epoch(store: FeatureStore) -> None:
    whole = list(store.batches(batch_size=4, seed=3, epoch=2, balance="verb"))
    rest = list(store.batches(batch_size=4, seed=3, epoch=2, balance="verb", start=2))
    assert all(same(ours, theirs) for ours, theirs in zip(rest, whole[2:], strict=True))


@pytest.mark.parametrize("resident", ["disk", "ram"])
def test_batches_that_are_kept_keep_their_values(store: FeatureStore, resident: str) -> None:
    """Memory is used again, but never while a batch, or a part of one, is held."""
    loader = Loader(store, None, store.rows(), resident=resident)
    kept = list(loader.epoch(batch_size=2, seed=0, epoch=0))
    parts = [batch.tokens["rgb"][0, 0] for batch in loader.epoch(batch_size=2, seed=0, epoch=0)]
    for _ in loader.epoch(batch_size=2, seed=9, epoch=9):
        pass
    for batch, part in zip(kept, parts, strict=True):
        expected = store.tokens["rgb"].read(batch.rows, batch.views)
        present = (store.present["rgb"][batch.rows] == Presence.CACHED)[:, None, None]
        np.testing.assert_array_equal(batch.tokens["rgb"], expected * present)
        np.testing.assert_array_equal(part, (expected * present)[0, 0])


def test_tokens_that_presence_does_not_vouch_for_are_zero(
    make_store: Callable[..., Path], random_tokens: Callable[..., NDArray[np.floating]]
) -> None:
    """A run that was killed between a shard and its presence leaves such."""
    tokens = random_tokens(4, 1, 3, 2)
    root = make_store({"m": tokens, "n": tokens}, 2)
    write_chunk(root / "present/m/enc/c/1", np.full(2, Presence.TO_DO, np.uint8))
    for resident in ("disk", "ram"):
        (batch,) = Loader(FeatureStore.open(root), None, np.arange(4), resident=resident).in_order(batch_size=4)
        np.testing.assert_array_equal(batch.tokens["m"], tokens[:, 0] * np.array([1, 1, 0, 0])[:, None, None])
        assert batch.present.tolist() == [[True, True], [True, True], [False, True], [False, True]]


def test_an_error_while_reading_ahead_reaches_the_caller_and_ends_the_thread(
    make_store: Callable[..., Path], random_tokens: Callable[..., NDArray[np.floating]]
) -> None:
    root = make_store({"m": random_tokens(8, 1, 3, 2)}, 2)
    shard = root / "tokens/m/enc/c/3/0/0/0"
    shard.write_bytes(b"\0" * shard.stat().st_size)
    loader = Loader(FeatureStore.open(root), None, np.arange(8))
    with pytest.raises(StoreError, match="fails its checksum"):
        list(loader.in_order(batch_size=1))
    assert "mmcache-read-ahead" not in {thread.name for thread in threading.enumerate()}


def test_a_loop_that_is_left_leaves_no_thread(store: FeatureStore) -> None:
    for _ in store.batches(batch_size=2):
        break
    gc.collect()
    assert "mmcache-read-ahead" not in {thread.name for thread in threading.enumerate()}


def test_the_choice_of_a_place_is_told_in_words(store: FeatureStore) -> None:
    rows = store.rows()
    assert Loader(store, None, rows, resident="disk").residency.startswith("disk, as requested: 0.00 GB of tokens")
    assert Loader(store, None, rows, resident="auto").residency.startswith("ram: 0.00 GB of tokens, ")


@pytest.mark.parametrize("k", [None, 2])
@pytest.mark.parametrize("resident", ["ram", "disk"])
def test_damaged_tokens_stop_the_epoch_that_reads_them_first(
    resident: str, k: int | None, make_store: Callable[..., Path], random_tokens: Callable[..., NDArray[np.floating]]
) -> None:
    """Where presence does not vouch for them, they hurt nobody."""
    root = make_store({"m": random_tokens(8, 1, 5, 4), "n": random_tokens(8, 1, 5, 4)}, 4)
    store = FeatureStore.open(root)
    sound = list(Loader(store, None, np.arange(8), k=k, resident=resident).in_order(batch_size=3))
    shard = root / "tokens/m/enc/c/1/0/0/0"
    data = bytearray(shard.read_bytes())
    data[0] ^= 1  # of row 4
    shard.write_bytes(data)
    Loader(store, ["m"], np.arange(8), k=k, resident=resident)
    again = list(Loader(store, None, np.arange(8), k=k, resident=resident).in_order(batch_size=3))
    assert all(batch.rows.tolist() == other.rows.tolist() for batch, other in zip(sound, again, strict=True))
    store.close()
    with pytest.raises(StoreError, match="fail their checksum; run `mmcache store verify --repair`"):
        list(Loader(store, None, np.arange(8), k=k, resident=resident).in_order(batch_size=3))
    (other,) = Loader(store, None, np.array([3, 5]), k=k, resident=resident).in_order(batch_size=3)
    assert other.present.all()
    write_chunk(root / "present/m/enc/c/1", np.array([Presence.FAILED, *[Presence.CACHED] * 3], np.uint8))
    mended = list(Loader(FeatureStore.open(root), None, np.arange(8), k=k, resident=resident).in_order(batch_size=3))
    assert not mended[1].tokens["m"][1].any()
    assert mended[1].present[1].tolist() == [False, True]
