"""Parts merge to the bytes of one run."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmcache.store import Presence
from mmcache.store.manage.merge import merge_stores
from mmcache.store.manage.verify import verify

Tree = Callable[[Path], dict[str, bytes]]
MakePart = Callable[..., Path]
Status = dict[str, list[int]]
C = Presence.CACHED


@pytest.mark.parametrize("backwards", [False, True])
def test_parts_merge_to_the_bytes_of_one_run(
    division: list[Status],
    backwards: bool,
    make_part: MakePart,
    in_one_go: Path,
    make_folder: Callable[[], Path],
    tree: Tree,
) -> None:
    parts = [make_part(presence) for presence in division]
    before = [tree(part) for part in parts]
    merged = merge_stores(parts[::-1] if backwards else parts, make_folder() / "new" / "one.zarr")
    assert tree(merged.path) == tree(in_one_go)
    assert [tree(part) for part in parts] == before
    assert verify(merged.path) == []


def test_parts_of_different_segments_merge_to_the_bytes_of_one_run(
    make_part: MakePart,
    make_segments: Callable[[int], pd.DataFrame],
    make_folder: Callable[[], Path],
    tree: Tree,
    status: Status,
) -> None:
    segments = make_segments(8).sort_values("split", kind="stable", ignore_index=True)
    longer = {m: [*s, C] for m, s in status.items()}
    whole = make_part(longer, segments)
    parts = []
    for split in ("train", "validation"):
        rows = np.flatnonzero(segments["split"] == split)
        own = {m: [s[row] for row in rows] for m, s in longer.items()}
        parts.append(make_part(own, segments.iloc[rows].reset_index(drop=True), meta={"eval_split": "validation"}))
    assert tree(merge_stores(parts, make_folder() / "one.zarr").path) == tree(whole)
