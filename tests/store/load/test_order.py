import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from mmcache.store.ground.errors import ConfigError
from mmcache.store.load.order import balanced_order, batch_rows, epoch_order, id_keys, keyed_uniform

PROPERTY = settings(max_examples=60)
seeds = st.integers(0, 2**31)
KEYS = id_keys(f"P01_101_{i}" for i in range(20_000))


@PROPERTY
@given(rows=st.lists(st.integers(0, 1000), unique=True), seed=seeds, epoch=st.integers(0, 500), data=st.data())
def test_an_epoch_is_a_shuffle_of_its_rows(rows: list[int], seed: int, epoch: int, data: st.DataObject) -> None:
    order = epoch_order(np.array(rows, np.int64), seed, epoch)
    assert sorted(order.tolist()) == sorted(rows)
    given_otherwise = data.draw(st.permutations(rows))
    assert epoch_order(np.array(given_otherwise, np.int32), seed, epoch).tolist() == order.tolist()


def test_the_order_stays_the_same_for_ever() -> None:
    """A run that is resumed with a newer version must go on in its old order."""
    assert epoch_order(np.arange(10), seed=3, epoch=1).tolist() == [4, 1, 2, 8, 5, 0, 7, 9, 6, 3]


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = {tuple(epoch_order(np.arange(100), seed, epoch).tolist()) for seed in range(10) for epoch in range(10)}
    assert len(orders) == 100


def test_every_row_comes_first_equally_often() -> None:
    first = [epoch_order(np.arange(10), 0, epoch)[0] for epoch in range(2000)]
    assert stats.chisquare(np.bincount(first, minlength=10)).pvalue > 1e-3


@PROPERTY
@given(n=st.integers(0, 50), batch_size=st.integers(1, 60))
def test_batches_are_the_order_in_pieces(n: int, batch_size: int) -> None:
    order = np.arange(n)[::-1]
    batches = batch_rows(order, batch_size)
    assert [row for batch in batches for row in batch.tolist()] == order.tolist()
    assert all(len(batch) == batch_size for batch in batches[:-1])
    assert all(0 < len(batch) <= batch_size for batch in batches)


RANKS = given(n=st.integers(0, 80), batch_size=st.integers(1, 9), world_size=st.integers(1, 6))


@PROPERTY
@RANKS
def test_ranks_share_every_row_and_none_has_anothers(n: int, batch_size: int, world_size: int) -> None:
    order = np.random.default_rng(n).permutation(n)
    own = [np.concatenate([order[:0], *batch_rows(order, batch_size, rank, world_size)]) for rank in range(world_size)]
    assert sorted(np.concatenate(own).tolist()) == list(range(n))
    assert max(map(len, own)) - min(map(len, own)) <= 1


@PROPERTY
@RANKS
def test_a_step_of_all_ranks_is_the_same_rows_whatever_the_world(n: int, batch_size: int, world_size: int) -> None:
    """Training on 4 GPUs with batches of 8 sees what one GPU with batches of 32 sees, full step by full step."""
    order = np.random.default_rng(n).permutation(n)
    alone = batch_rows(order, batch_size * world_size)
    shared = [batch_rows(order, batch_size, rank, world_size) for rank in range(world_size)]
    for step in range(n // (batch_size * world_size) - 1):  # the last two may be cut otherwise, to be equally many
        assert sorted(np.concatenate([batches[step] for batches in shared]).tolist()) == sorted(alone[step].tolist())


@PROPERTY
@RANKS
def test_ranks_make_equally_many_steps(n: int, batch_size: int, world_size: int) -> None:
    """Else the last one would wait for ever for the others' gradients."""
    counts = {len(batch_rows(np.arange(n), batch_size, rank, world_size)) for rank in range(world_size)}
    if n >= world_size and batch_size > 1:
        assert len(counts) == 1
    assert max(counts) - min(counts) <= 1
    assert max(counts) == -(-n // (batch_size * world_size))


@pytest.mark.parametrize(("rank", "world_size"), [(1, 1), (-1, 2), (0, 0), (5, 4)])
def test_no_such_rank(rank: int, world_size: int) -> None:
    with pytest.raises(ConfigError, match=f"rank {rank} of a world of {world_size}"):
        batch_rows(np.arange(9), 2, rank, world_size)


def test_a_batch_has_at_least_one_row() -> None:
    with pytest.raises(ConfigError, match="batch size 0: at least 1 is needed"):
        batch_rows(np.arange(9), 0)


LABELLED = st.lists(st.tuples(st.integers(0, 10_000), st.integers(-1, 6)), max_size=60, unique_by=lambda pair: pair[0])


@PROPERTY
@given(pairs=LABELLED, seed=seeds, epoch=st.integers(0, 500), data=st.data())
def test_a_balanced_epoch_draws_all_classes_and_all_rows_of_a_class_equally_often(
    pairs: list[tuple[int, int]], seed: int, epoch: int, data: st.DataObject
) -> None:
    rows, labels = (np.array(values, np.int64) for values in (zip(*pairs, strict=True) if pairs else ((), ())))
    order = balanced_order(rows, labels, seed, epoch)
    label_of = dict(pairs)
    assert len(order) == sum(label >= 0 for label in label_of.values())
    drawn = [label_of[row] for row in order.tolist()]
    assert -1 not in drawn
    for groups in (
        [drawn.count(label) for label in set(drawn)],
        *([order.tolist().count(row) for row, own in pairs if own == label] for label in set(drawn)),
    ):
        assert max(groups, default=0) - min(groups, default=0) <= 1
    classes = {label for label in labels.tolist() if label >= 0}
    assert len(set(drawn)) == min(len(classes), len(order))
    shuffled = data.draw(st.permutations(range(len(pairs))))
    again = balanced_order(rows[shuffled], labels[shuffled], seed, epoch)
    assert again.tolist() == order.tolist()


def test_balanced_epochs_differ_and_stay_the_same_for_ever() -> None:
    labels = np.array([0, 0, 0, 0, 0, 1, 1, 2])
    orders = {tuple(balanced_order(np.arange(8), labels, 0, epoch).tolist()) for epoch in range(20)}
    assert len(orders) == 20
    assert balanced_order(np.arange(8), labels, 3, 1).tolist() == [7, 5, 2, 6, 5, 7, 1, 4]


def test_the_key_of_an_id_stays_the_same_for_ever() -> None:
    """The first 8 bytes of BLAKE2b with a digest of 8 bytes, little-endian; from `printf P01_101_0 | b2sum -l 64`."""
    assert id_keys(["P01_101_0"]).tolist() == [0xC7CC048B997F34DE]
    assert id_keys(["P01_101_0"]).dtype == np.uint64


def test_keys_are_those_of_each_id_alone() -> None:
    ids = ["a", "", "動画", "a"]
    assert id_keys(ids).tolist() == [id_keys([name])[0] for name in ids]
    assert len(set(id_keys(ids).tolist())) == 3
    assert id_keys([]).shape == (0,)
    assert len(np.unique(KEYS)) == len(KEYS)


@PROPERTY
@given(
    keys=st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=20),
    stream=st.lists(st.integers(-1, 2**63), max_size=4),
    data=st.data(),
)
def test_a_draw_does_not_depend_on_what_else_is_drawn(keys: list[int], stream: list[int], data: st.DataObject) -> None:
    together = keyed_uniform(np.array(keys, np.uint64), *stream)
    assert ((together >= 0) & (together < 1)).all()
    some = data.draw(st.lists(st.integers(0, len(keys) - 1), min_size=1))
    alone = keyed_uniform(np.array(keys, np.uint64)[some], *stream)
    np.testing.assert_array_equal(alone, together[some])


def test_drawing_leaves_the_keys_alone() -> None:
    keys = np.arange(5, dtype=np.uint64)
    keyed_uniform(keys, 1, 2)
    assert keys.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("keys", [KEYS, np.arange(20_000, dtype=np.uint64)], ids=["ids", "counted"])
@pytest.mark.parametrize("stream", [(0,), (1, 0), (3, 7, 2), (12345, 99, 1, 0)])
def test_draws_are_uniform(keys: NDArray[np.uint64], stream: tuple[int, ...]) -> None:
    draws = keyed_uniform(keys, *stream)
    assert stats.kstest(draws, "uniform").pvalue > 1e-3
    assert stats.chisquare(np.histogram(draws, bins=100, range=(0, 1))[0]).pvalue > 1e-3


@pytest.mark.parametrize(
    ("one", "other"),
    [((0, 0), (0, 1)), ((0, 0), (1, 0)), ((1, 2), (2, 1)), ((5,), (5, 0)), ((0, 0, 1), (0, 1, 0)), ((7, 3), (8, 3))],
)
def test_streams_are_independent_of_each_other(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    first, second = keyed_uniform(KEYS, *one), keyed_uniform(KEYS, *other)
    joint, _, _ = np.histogram2d(first, second, bins=10, range=[[0, 1], [0, 1]])
    assert stats.chisquare(joint.ravel()).pvalue > 1e-3
    assert abs(stats.spearmanr(first, second).statistic) < 0.03


def test_neighbouring_keys_are_independent() -> None:
    draws = keyed_uniform(np.arange(20_001, dtype=np.uint64), 0, 0)
    joint, _, _ = np.histogram2d(draws[:-1], draws[1:], bins=10, range=[[0, 1], [0, 1]])
    assert stats.chisquare(joint.ravel()).pvalue > 1e-3


def test_the_draws_of_one_segment_are_uniform_over_epochs() -> None:
    draws = np.array([keyed_uniform(KEYS[:1], 0, epoch)[0] for epoch in range(5000)])
    assert stats.kstest(draws, "uniform").pvalue > 1e-3
