"""Whole shards are taken over by reference, and belong to the merged store from then on."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mmcache.store import FeatureStore, Presence
from mmcache.store.files.atomic import reference_copy
from mmcache.store.manage.merge import merge_stores
from mmcache.store.manage.verify import verify

Tree = Callable[[Path], dict[str, bytes]]
MakePart = Callable[..., Path]
Status = dict[str, list[int]]
C = Presence.CACHED


def shards(root: Path) -> dict[str, Path]:
    files = [file for kind in ("tokens", "scale") for file in (root / kind).glob("*/*/c/**/0") if file.is_file()]
    return {str(file.relative_to(root)): file for file in files}


def test_whole_shards_are_one_file_and_survive_the_removal_of_the_part(
    make_part: MakePart, tmp_path: Path, only: Callable[..., list[int]], status: Status, n_segments: int
) -> None:
    """On file systems that clone, they share their bytes under another inode, which no test can see."""
    rows = (range(4), range(4, n_segments))
    parts = [
        make_part({m: only(s, part) for m, s in status.items()}, root=tmp_path / f"{part.start}.zarr") for part in rows
    ]
    given = {name: file for part in parts for name, file in shards(part).items()}
    merged = merge_stores(parts, tmp_path / "one.zarr")
    assert shards(merged.path).keys() == given.keys()
    assert len(given) >= 12
    if _can_clone(tmp_path):
        pytest.skip("this file system clones")
    assert all(file.stat().st_ino == given[name].stat().st_ino for name, file in shards(merged.path).items())
    for part in parts:
        shutil.rmtree(part)
    assert verify(merged.path) == []


def _can_clone(folder: Path) -> bool:
    (folder / "a").write_bytes(b"a")
    reference_copy(folder / "a", folder / "b")
    return (folder / "a").stat().st_ino != (folder / "b").stat().st_ino


@pytest.mark.parametrize("relative", [False, True])
def test_shards_that_are_links_elsewhere_survive_the_removal_of_the_part(
    relative: bool, make_part: MakePart, make_folder: Callable[[], Path], n_segments: int
) -> None:
    """As git-annex and DVC leave them."""
    part = make_part({"rgb": [C] * n_segments})
    for file in shards(part).values():
        target = part.parent / f"annex-{file.parents[2].name}"
        file.rename(target)
        file.symlink_to(os.path.relpath(target, file.parent) if relative else target)
    merged = merge_stores([part], make_folder() / "one.zarr")
    assert not any(file.is_symlink() for file in shards(merged.path).values())
    shutil.rmtree(part.parent)
    assert verify(merged.path) == []


def test_a_merged_shard_that_is_written_again_leaves_the_part_as_it_was(
    make_part: MakePart, make_folder: Callable[[], Path], tree: Tree, only: Callable[..., list[int]], status: Status
) -> None:
    part = make_part({"rgb": only(status["rgb"], (0, 2))})
    merged = merge_stores([part], make_folder() / "one.zarr").path
    before = tree(part)
    make_part({"rgb": status["rgb"]}, root=merged, salt="other")
    assert tree(part) == before
    assert verify(part) == []
    assert verify(merged) == []


def test_across_file_systems_shards_are_copied(
    make_part: MakePart,
    make_folder: Callable[[], Path],
    tmp_path: Path,
    in_one_go: Path,
    tree: Tree,
    divisions: dict[str, list[Status]],
) -> None:
    base = make_folder()
    if base.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is only one file system")
    parts = [make_part(presence) for presence in divisions["blocks of rows"]]
    merged = merge_stores(parts, tmp_path / "one.zarr").path
    for part in parts:
        shutil.rmtree(part)
    assert tree(merged) == tree(in_one_go)
    assert all(file.stat().st_nlink == 1 for file in shards(merged).values())


def test_a_shard_that_two_parts_fill_is_put_together(
    make_part: MakePart,
    make_folder: Callable[[], Path],
    only: Callable[..., list[int]],
    n_segments: int,
    assert_same_row: Callable[..., None],
) -> None:
    parts = [
        make_part({"rgb": only([C] * n_segments, range(start, n_segments, 2))}, salt=str(start)) for start in (0, 1)
    ]
    merged = merge_stores(parts, make_folder() / "one.zarr")
    given = {file.stat().st_ino for part in parts for file in shards(part).values()}
    made = {name for name, file in shards(merged.path).items() if file.stat().st_ino not in given}
    assert made == {f"tokens/rgb/enc/c/{shard}/0/0/0" for shard in range(3)}  # the last one has one row only
    for row in range(n_segments):
        assert_same_row(merged, row, FeatureStore.open(parts[row % 2]), row, "rgb")
