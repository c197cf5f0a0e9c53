"""Merging again, and more: what is there already stays."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mmcache.store import Presence
from mmcache.store.manage.merge import merge_stores
from mmcache.store.manage.verify import verify

Tree = Callable[[Path], dict[str, bytes]]
MakePart = Callable[..., Path]
Status = dict[str, list[int]]
C, M, F, T = Presence.CACHED, Presence.MISSING, Presence.FAILED, Presence.TO_DO


def test_merging_again_changes_nothing(
    make_part: MakePart, make_folder: Callable[[], Path], tree: Tree, divisions: dict[str, list[Status]]
) -> None:
    parts = [make_part(presence) for presence in divisions["rows in turn"]]
    merged = merge_stores(parts, make_folder() / "one.zarr").path
    before = {path: path.stat().st_mtime_ns for path in merged.rglob("*")}
    content = tree(merged)
    merge_stores(parts, merged)
    assert tree(merged) == content
    assert {path: path.stat().st_mtime_ns for path in merged.rglob("*") if path != merged} == {
        path: then for path, then in before.items() if path != merged
    }


def test_after_a_part_has_grown_only_what_is_new_is_taken_over(
    make_part: MakePart,
    make_folder: Callable[[], Path],
    in_one_go: Path,
    tree: Tree,
    only: Callable[..., list[int]],
    status: Status,
    divisions: dict[str, list[Status]],
) -> None:
    first, second = divisions["blocks of rows"]
    parts = [make_part(first), make_part({m: only(s, (4,)) for m, s in second.items()})]
    merged = merge_stores(parts, make_folder() / "one.zarr").path
    assert tree(merged) != tree(in_one_go)
    settled = [merged / f"tokens/{modality}/enc/c/{shard}/0/0/0" for modality in status for shard in (0, 1)]
    before = [(file.stat().st_ino, file.stat().st_mtime_ns) for file in settled if file.exists()]
    make_part(second, root=parts[1])
    merge_stores(parts, merged)
    assert tree(merged) == tree(in_one_go)
    assert [(file.stat().st_ino, file.stat().st_mtime_ns) for file in settled if file.exists()] == before


def test_what_failed_and_was_put_right_since_is_taken_over(
    make_part: MakePart, make_folder: Callable[[], Path], in_one_go: Path, tree: Tree, status: Status
) -> None:
    worse = {m: [F if row == 2 else value for row, value in enumerate(s)] for m, s in status.items()}
    part = make_part(worse)
    merged = merge_stores([part], make_folder() / "one.zarr")
    assert {line["id"] for line in merged.failures} > {"P01_002"}
    make_part(status, root=part)
    assert tree(merge_stores([part], merged.path).path) == tree(in_one_go)


def test_a_merge_finishes_the_reports_of_one_that_was_cut_short(
    make_part: MakePart,
    make_folder: Callable[[], Path],
    in_one_go: Path,
    tree: Tree,
    monkeypatch: pytest.MonkeyPatch,
    divisions: dict[str, list[Status]],
) -> None:
    parts = [make_part(presence) for presence in divisions["blocks of rows"]]
    root = make_folder() / "one.zarr"

    class Stopped(Exception):
        pass

    def stop(name: str, done: int, total: int) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        merge_stores(parts, root, stop)
    assert verify(root) == []
    assert tree(merge_stores(parts, root).path) == tree(in_one_go)


@pytest.mark.parametrize("second", [(T, C), (F, C), (F, T), (M, T)])
def test_parts_may_be_merged_one_after_the_other_and_what_the_first_brought_stays(
    second: tuple[Presence, Presence],
    make_part: MakePart,
    make_folder: Callable[[], Path],
    only: Callable[..., list[int]],
    n_segments: int,
) -> None:
    """merge a --store r, then merge b --store r, of the same segments."""
    root = make_folder() / "one.zarr"
    merge_stores([make_part({"rgb": only([C] * n_segments, (0,))})], root)
    merged = merge_stores([make_part({"rgb": [*second, *[T] * (n_segments - 2)]})], root)
    assert merged.present["rgb"][:2].tolist() == [C, second[1]]
    assert verify(root) == []
