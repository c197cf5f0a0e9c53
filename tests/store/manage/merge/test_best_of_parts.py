"""Whatever the parts have, a merge has the best of it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmcache.store import FeatureStore, Presence
from mmcache.store.manage.merge import merge_stores
from mmcache.store.manage.verify import verify

MakePart = Callable[..., Path]
Part = tuple[list[int], dict[str, list[int]], int]  # which segments, modality -> presence of these, rows a shard
C, M, F, T = Presence.CACHED, Presence.MISSING, Presence.FAILED, Presence.TO_DO
N = 7  # segments in all
BEST_FIRST = (C, F, M)


@st.composite
def any_parts(draw: st.DrawFn) -> list[Part]:
    """Parts of any segments and shards."""
    parts = []
    for _ in range(draw(st.integers(1, 3))):
        ids = draw(st.lists(st.integers(0, N - 1), min_size=1, max_size=N, unique=True))
        modalities = draw(st.lists(st.sampled_from(["audio", "rgb"]), min_size=1, max_size=2, unique=True))
        presence = st.lists(st.sampled_from([C, C, F, M, T]), min_size=len(ids), max_size=len(ids))
        parts.append((ids, {modality: draw(presence) for modality in modalities}, draw(st.integers(1, 4))))
    return parts


@st.composite
def parts_of_one_table(draw: st.DrawFn) -> list[Part]:
    """As any_parts, of the same segments and shards, so that whole shards can be taken over."""
    presence = st.lists(st.sampled_from([C, C, F, M, T]), min_size=N, max_size=N)
    n_parts, rows_per_shard = draw(st.integers(2, 3)), draw(st.integers(2, 4))
    return [(list(range(N)), {m: draw(presence) for m in ("audio", "rgb")}, rows_per_shard) for _ in range(n_parts)]


@pytest.mark.parametrize("examples", [10, pytest.param(80, marks=pytest.mark.slow)])
def test_every_row_reads_as_in_the_part_that_knows_most_of_it(
    examples: int,
    make_part: MakePart,
    make_segments: Callable[[int], pd.DataFrame],
    make_folder: Callable[[], Path],
    assert_same_row: Callable[..., None],
) -> None:
    @settings(max_examples=examples)
    @given(parts=st.one_of(any_parts(), parts_of_one_table()))
    def check(parts: list[Part]) -> None:
        check_merge(parts, make_part, make_segments, make_folder, assert_same_row)

    check()


def check_merge(
    parts: list[Part],
    make_part: MakePart,
    make_segments: Callable[[int], pd.DataFrame],
    make_folder: Callable[[], Path],
    assert_same_row: Callable[..., None],
) -> None:
    """CACHED beats FAILED beats MISSING beats TO_DO; of equals, the first part wins."""
    everything = make_segments(N)
    stores = []
    for number, (rows, presence, rows_per_shard) in enumerate(parts):
        own = everything.iloc[rows].reset_index(drop=True)
        how = {"rows_per_shard": rows_per_shard, "salt": f"part {number}", "meta": {"eval_split": "validation"}}
        stores.append(FeatureStore.open(make_part(presence, own, **how)))
    merged = merge_stores([store.path for store in stores], make_folder() / "one.zarr")

    assert verify(merged.path) == []
    order = list(dict.fromkeys(row for rows, _, _ in parts for row in rows))
    assert merged.segments.to_dict("records") == everything.iloc[order].to_dict("records")
    assert merged.meta.splits == merged.segments["split"].value_counts().to_dict()
    for modality in merged.modalities:
        having = [store for store in stores if modality in store.modalities]
        reported = {(line["id"], line["modality"]): line for line in (*merged.failures, *merged.notes)}
        for row, segment in enumerate(merged.segments["id"]):
            known = [
                (BEST_FIRST.index(status), number, store, there)
                for number, store in enumerate(having)
                for there in np.flatnonzero(store.segments["id"] == segment).tolist()
                if (status := Presence(int(store.present[modality][there]))) != T
            ]
            if not known:
                assert merged.present[modality][row] == T
                continue
            _, _, best, there = min(known, key=lambda entry: entry[:2])
            assert merged.present[modality][row] == best.present[modality][there]
            assert_same_row(merged, row, best, there, modality)
            theirs = {(line["id"], line["modality"]): line for line in (*best.failures, *best.notes)}
            assert reported.get((segment, modality)) == theirs.get((segment, modality))


def test_a_whole_shard_is_that_of_the_part_whose_rows_are_taken(
    make_part: MakePart,
    make_folder: Callable[[], Path],
    only: Callable[..., list[int]],
    assert_same_row: Callable[..., None],
) -> None:
    """Row 0 failed in the second part; row 1 is in both, so the first part's counts."""
    one = make_part({"audio": only([T, C, C, C, C, C, C], (1,))}, salt="one")
    two = make_part({"audio": only([F, C, C, C, C, C, C], (0, 1))}, salt="two")
    merged = merge_stores([one, two], make_folder() / "one.zarr")
    assert_same_row(merged, 1, FeatureStore.open(one), 1, "audio")
