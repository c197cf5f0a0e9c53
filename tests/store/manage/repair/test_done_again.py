"""What was lost is done again by the same work, and nothing else is."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mmcache.store import FeatureStore, Presence, StoreError
from mmcache.store.exchange.hdf5_export import export_hdf5
from mmcache.store.exchange.npy_export import export_npy
from mmcache.store.manage.reduce import reduce_store
from mmcache.store.manage.repair import repair
from mmcache.store.manage.verify import verify

Tree = Callable[[Path], dict[str, bytes]]
Work = Callable[[Path], None]
Flip = Callable[[Path, int, int], None]
C, M, F, T = Presence.CACHED, Presence.MISSING, Presence.FAILED, Presence.TO_DO


def is_of(path: Path, shard: int, kind: str) -> bool:
    """Whether this is the file of a shard of an array of that kind."""
    parts = path.parts
    return path.is_file() and parts[parts.index(kind) + 4] == str(shard)


@pytest.mark.parametrize("shard", range(3))
def test_each_shard_and_chunk_is_done_again(
    root: Path,
    sound: Path,
    work: Work,
    tree: Tree,
    harmed: tuple[str, Callable[[Path], None]],
    shard: int,
    kinds: tuple[str, ...],
) -> None:
    kind, harm = harmed
    (file,) = (path for path in (root / kind / "q/enc/c" / str(shard)).parent.rglob("*") if is_of(path, shard, kind))
    harm(file)
    before = tree(root)
    assert verify(root) != []
    repaired = repair(root)
    assert repaired.left == []
    assert set(repaired.to_do) <= {"q/enc"}
    assert sum(repaired.to_do.values()) <= 3  # rows of a shard
    changed = {name for name, data in tree(root).items() if before.get(name) != data}
    assert all(name.split("/")[1] == "q" for name in changed if name.split("/")[0] in kinds), changed
    work(root)
    assert tree(root) == tree(sound)


def test_presence_is_made_anew_from_chunks_and_failures_without_doing_anything_again(
    root: Path, tree: Tree, flip: Flip
) -> None:
    """Of the second shard: row 3 is missing, which leaves no trace, and so is the only one to be done again."""
    sound = tree(root)
    flip(root / "present/a/enc/c/1", 0, 0)
    repaired = repair(root)
    assert repaired.left == []
    assert FeatureStore.open(root).present["a"].tolist() == [C, F, C, T, C, F, C]
    assert {name for name, data in tree(root).items() if data != sound[name]} == {"present/a/enc/c/1"}


def test_damaged_answers_of_a_teacher_are_removed_and_computed_again(
    root: Path, sound: Path, work: Work, tree: Tree, flip: Flip
) -> None:
    chunk = root / "logits/karmma-0a1b/verb/c/0/0/0/0"
    flip(chunk, 5, 3)
    before = tree(root)
    repaired = repair(root)
    assert [finding.where for finding in repaired.found] == ["logits/karmma-0a1b/verb"]
    assert (repaired.left, repaired.to_do) == ([], {})
    assert not chunk.exists()
    name = str(chunk.relative_to(root))
    assert tree(root) == {other: data for other, data in before.items() if other != name}
    work(root)
    assert tree(root) == tree(sound)


def test_a_lost_shard_is_never_taken_for_zeros(root: Path, make_folder: Callable[[], Path]) -> None:
    """What reads tokens in order to write them elsewhere needs them all."""
    (root / "tokens/q/enc/c/0/0/0/0").unlink()
    for write in (
        lambda: reduce_store(root, 1, ["q"]),
        lambda: export_hdf5(FeatureStore.open(root), make_folder() / "x.h5"),
        lambda: export_npy(FeatureStore.open(root), make_folder() / "npy"),
    ):
        with pytest.raises(StoreError, match=r"lacks tokens of row .* which presence lists as cached"):
            write()


@pytest.fixture(scope="module")
def killed(kill_everywhere: Callable[[str], tuple[Path, list[dict]]]) -> tuple[Path, list[dict]]:
    return kill_everywhere("repair")


@pytest.mark.slow
def test_after_a_kill_repair_and_the_same_work_end_with_the_same_bytes(
    killed: tuple[Path, list[dict]], tree: Tree
) -> None:
    folder, kills = killed
    undisturbed = tree(folder / "undisturbed")
    assert undisturbed == tree(folder / "sound")
    assert len(kills) > 40
    for kill in kills:
        assert kill["rerun"] == [], kill
        assert tree(folder / str(kill["n"])) == undisturbed, kill
