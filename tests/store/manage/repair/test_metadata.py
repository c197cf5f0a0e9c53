"""Metadata and reports are restored from their other copy; where that is damaged too, the finding stays."""

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mmcache.store import FeatureStore, StoreError
from mmcache.store.files.sealed import spare_of
from mmcache.store.format.reports import REPORTS, finish_reports
from mmcache.store.manage.repair import repair
from mmcache.store.manage.verify import verify

Tree = Callable[[Path], dict[str, bytes]]
Work = Callable[[Path], None]


@pytest.mark.parametrize("copy", ["the file", "the spare copy"])
def test_each_metadata_file_is_restored_from_its_other_copy(
    root: Path, tree: Tree, copy: str, harm: Callable[[Path], None], metadata: Callable[[Path], list[str]]
) -> None:
    whole = tree(root)
    names = [name for name in metadata(root) if name not in REPORTS]
    assert len(names) >= 20
    for name in names:
        file = root / name if copy == "the file" else spare_of(root, name)
        harm(file)
        repaired = repair(root)
        assert str(file.relative_to(root)) in {finding.where for finding in repaired.found}, name
        assert (repaired.left, repaired.to_do) == ([], {}), name
        assert tree(root) == whole, name


@pytest.mark.parametrize("copy", ["the file", "the spare copy"])
def test_failures_are_restored_from_their_other_copy(
    root: Path, work: Work, tree: Tree, copy: str, harm: Callable[[Path], None]
) -> None:
    whole = tree(root)
    file = root / "failures.jsonl" if copy == "the file" else spare_of(root, "failures.jsonl")
    harm(file)
    assert str(file.relative_to(root)) in {finding.where for finding in verify(root)}
    assert repair(root).left == []
    work(root)
    assert tree(root) == whole


def test_all_metadata_is_restored_at_once(
    root: Path, tree: Tree, harms: dict[str, Callable[[Path], None]], metadata: Callable[[Path], list[str]]
) -> None:
    whole = tree(root)
    for name in metadata(root):
        harms["zeroed"](root / name)
    assert repair(root).left == []
    assert tree(root) == whole
    for name, harm in zip(metadata(root), itertools.cycle(harms.values()), strict=False):
        harm(spare_of(root, name))
    assert repair(root).left == []
    assert tree(root) == whole


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("harm", ["zeroed", "truncated"], indirect=True)
def test_where_both_copies_are_damaged_the_finding_stays_and_nothing_else_is_harmed(
    every: int,
    sound: Path,
    make_folder: Callable[[], Path],
    tree: Tree,
    harm: Callable[[Path], None],
    metadata: Callable[[Path], list[str]],
) -> None:
    names = [name for name in metadata(sound) if name not in REPORTS]
    assert len(names) >= 20
    for name in names[::every]:
        root = Path(shutil.copytree(sound, make_folder() / "toy.zarr"))
        harm(root / name)
        harm(spare_of(root, name))
        before = tree(root)
        repaired = repair(root)
        assert name in {finding.where for finding in repaired.left}, name
        assert repaired.to_do == {}, name
        assert tree(root) == before, name
        shutil.rmtree(root.parent)


def test_a_report_of_which_both_copies_are_damaged_goes_and_its_segments_are_done_again(
    root: Path, sound: Path, work: Work, tree: Tree, harms: dict[str, Callable[[Path], None]]
) -> None:
    harms["zeroed"](root / "failures.jsonl")
    harms["zeroed"](spare_of(root, "failures.jsonl"))
    repaired = repair(root)
    assert (repaired.left, repaired.to_do) == ([], {"a/enc": 2, "q/enc": 2})
    work(root)
    assert tree(root) == tree(sound)


@pytest.mark.parametrize("letter", [b'"reason": "', b'"id": "'])
def test_a_damaged_report_is_not_vouched_for_by_the_next_run(letter: bytes, root: Path, work: Work, tree: Tree) -> None:
    """Else its spare copy would be taken for the damaged one."""
    before = tree(root)
    path = root / "failures.jsonl"
    raw = bytearray(path.read_bytes())
    raw[raw.index(letter) + len(letter)] ^= 1
    path.write_bytes(raw)
    with pytest.raises(StoreError, match=r"failures\.jsonl cannot be read .*verify --repair"):
        finish_reports(root)
    repair(root)
    work(root)
    assert tree(root) == before


def test_presence_whose_metadata_was_altered_is_not_believed(root: Path) -> None:
    """With a fill value of 1, whatever is to do would read as cached."""
    document = root / "present/q/enc/zarr.json"
    document.write_text(document.read_text().replace('"fill_value": 3', '"fill_value": 1'))
    with pytest.raises(StoreError, match=r"present/q/enc/zarr\.json is damaged"):
        FeatureStore.open(root).present["q"]


def test_answers_that_lost_all_of_their_metadata_are_found(root: Path) -> None:
    (document,) = root.glob("logits/*/verb/zarr.json")
    name = str(document.relative_to(root))
    document.unlink()
    spare_of(root, name).unlink()
    assert f"{name}: is missing, and there is no spare copy of it" in [str(finding) for finding in verify(root)]
