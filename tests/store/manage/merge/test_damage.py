"""Damaged parts, and what a kill left in one: none of it is taken over for sound."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mmcache.store import Presence, StoreError
from mmcache.store.files.atomic import TEMPORARY_PREFIX
from mmcache.store.format.layout import WORK
from mmcache.store.manage.merge import merge_stores
from mmcache.store.manage.repair import repair
from mmcache.store.manage.verify import verify

Tree = Callable[[Path], dict[str, bytes]]
MakePart = Callable[..., Path]
C, F, T = Presence.CACHED, Presence.FAILED, Presence.TO_DO


@pytest.mark.parametrize("file", ["tokens/audio/enc/c/1/0/0/0", "scale/audio/enc/c/1/0/0/0"])
def test_a_damaged_chunk_is_not_given_a_new_checksum(
    file: str,
    make_part: MakePart,
    make_folder: Callable[[], Path],
    tree: Tree,
    only: Callable[..., list[int]],
    n_segments: int,
) -> None:
    """Shard 1 has rows 2 and 3, one of each part, so it is put together chunk by chunk."""
    parts = [make_part({"audio": only([C] * n_segments, range(start, n_segments, 2))}) for start in (0, 1)]
    data = bytearray((parts[1] / file).read_bytes())
    data[1] ^= 4
    (parts[1] / file).write_bytes(data)
    root = make_folder() / "one.zarr"
    with pytest.raises(StoreError, match="has a damaged chunk; run `mmcache store verify --repair` on the store of"):
        merge_stores(parts, root)
    assert not [path for path in root.parent.rglob("*") if path.name.startswith(TEMPORARY_PREFIX)]
    assert verify(root) == []
    assert repair(parts[1]).to_do == {"audio/enc": 1}
    make_part({"audio": only([C] * n_segments, range(1, n_segments, 2))}, root=parts[1])
    assert tree(merge_stores(parts, root).path) == tree(make_part({"audio": [C] * n_segments}))


def test_a_damaged_chunk_in_a_whole_shard_is_found_by_verify(
    make_part: MakePart, make_folder: Callable[[], Path], n_segments: int
) -> None:
    """Its checksum travels with it."""
    part = make_part({"rgb": [C] * n_segments})
    file = part / "tokens/rgb/enc/c/1/0/0/0"
    data = bytearray(file.read_bytes())
    data[1] ^= 4
    file.write_bytes(data)
    merged = merge_stores([part], make_folder() / "one.zarr")
    assert [(finding.segments, finding.problem) for finding in verify(merged.path)] == [
        (("P01_002",), "tokens fail their checksum")
    ]


def test_a_truncated_shard_is_not_taken_over(
    make_part: MakePart, make_folder: Callable[[], Path], n_segments: int
) -> None:
    part = make_part({"rgb": [C] * n_segments})
    os.truncate(part / "tokens/rgb/enc/c/1/0/0/0", 10)
    with pytest.raises(StoreError, match="truncated"):
        merge_stores([part], make_folder() / "one.zarr")


def test_a_shard_that_is_missing_in_a_part_is_a_store_error(
    make_part: MakePart, make_folder: Callable[[], Path], n_segments: int
) -> None:
    part = make_part({"rgb": [C] * n_segments})
    (part / "tokens/rgb/enc/c/1/0/0/0").unlink()
    with pytest.raises(StoreError):
        merge_stores([part], make_folder() / "one.zarr")


def test_a_chunk_that_a_kill_left_in_a_part_is_not_taken_over(
    make_part: MakePart, make_folder: Callable[[], Path], only: Callable[..., list[int]], n_segments: int
) -> None:
    part = make_part({"rgb": only([C] * n_segments, (0,))})
    present = part / "present/rgb/enc/c/0"
    before = present.read_bytes()
    make_part({"rgb": only([C] * n_segments, (0, 1))}, root=part)
    present.write_bytes(before)  # killed after the shard, before its presence
    (part / WORK).mkdir()  # and so before the reports were finished
    assert verify(part) == []
    merged = merge_stores([part, make_part({"rgb": [T, F, *[T] * 5]})], make_folder() / "one.zarr")
    assert verify(merged.path) == []
