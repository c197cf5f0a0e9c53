import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmcache.store.format.shards import ShardGrid, normalise_rows, rows_per_shard

PROPERTY = settings(max_examples=80)
grids = st.builds(ShardGrid, st.integers(1, 60), st.integers(1, 20), st.integers(1, 4))


@PROPERTY
@given(grids)
def test_the_shards_deal_out_every_row_once_in_order(grid: ShardGrid) -> None:
    dealt = [row for shard in range(grid.n_shards) for row in grid.rows(shard)]
    assert dealt == list(range(grid.n_rows))
    assert all(0 < len(grid.rows(shard)) <= grid.rows_per_shard for shard in range(grid.n_shards))


@PROPERTY
@given(grids)
def test_every_row_and_view_has_a_slot_of_its_own(grid: ShardGrid) -> None:
    rows = np.arange(grid.n_rows)
    places = {}
    for view in range(grid.n_views):
        shards, slots = grid.locate(rows, view)
        for row, shard, slot in zip(rows.tolist(), shards.tolist(), slots.tolist(), strict=True):
            assert row in grid.rows(shard)
            assert 0 <= slot < grid.slots_per_shard
            places[shard, slot] = (row, view)
    assert len(places) == grid.n_rows * grid.n_views
    assert [places[place] for place in sorted(places)] == [
        (row, view) for row in range(grid.n_rows) for view in range(grid.n_views)
    ]


@PROPERTY
@given(grids, st.data())
def test_shards_of_some_rows(grid: ShardGrid, data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(0, grid.n_rows - 1), max_size=10))
    touched = grid.shards_of(np.array(rows, np.int64)).tolist()
    assert touched == [shard for shard in range(grid.n_shards) if set(grid.rows(shard)) & set(rows)]


@PROPERTY
@given(st.integers(1, 10**6), st.integers(1, 10**5), st.integers(1, 10**9))
def test_a_shard_is_about_as_large_as_asked(row_bytes: int, n_rows: int, target: int) -> None:
    rows = rows_per_shard(row_bytes, n_rows, target)
    assert 1 <= rows <= n_rows
    if 1 < rows < n_rows:
        assert abs(rows * row_bytes - target) <= row_bytes / 2


@PROPERTY
@given(st.integers(1, 30), st.data())
def test_negative_rows_count_from_the_end(n: int, data: st.DataObject) -> None:
    rows = np.array(data.draw(st.lists(st.integers(-n, n - 1), max_size=12)), np.int64)
    np.testing.assert_array_equal(normalise_rows(rows, n), np.arange(n)[rows])


@pytest.mark.parametrize("row", [5, -6, 1000])
def test_rows_outside_are_refused(row: int) -> None:
    with pytest.raises(IndexError, match=f"row {row} is outside the store's 5 rows"):
        normalise_rows(np.array([0, row, 1]), 5)


def test_rows_of_two_axes_are_refused() -> None:
    with pytest.raises(IndexError, match="one-dimensional"):
        normalise_rows(np.zeros((2, 2), np.int64), 5)


@pytest.mark.parametrize("rows", [np.array([True, False, True, False, True]), np.array([0.5, 1.0])])
def test_rows_that_are_no_row_numbers_are_refused(rows: np.ndarray) -> None:
    """A mask read as the row numbers 0 and 1 would give the wrong segments without a word."""
    with pytest.raises(IndexError, match="integers"):
        normalise_rows(rows, 5)
