"""What repair leaves as it is: what is sound, being written, foreign, newer or no store."""

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import zarr

from mmcache.store import StoreError
from mmcache.store.files.sealed import SPARE
from mmcache.store.format.layout import read_meta, write_group
from mmcache.store.manage.repair import Repair, repair
from mmcache.store.manage.verify import verify

Tree = Callable[[Path], dict[str, bytes]]
Flip = Callable[[Path, int, int], None]
Place = tuple[str, int, int]  # file, byte, bit


def test_a_sound_store_is_not_touched(root: Path, tree: Tree) -> None:
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in root.rglob("*")}
    assert repair(root) == Repair([], [], {})
    assert {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in root.rglob("*")} == before
    assert [path.name for path in root.parent.iterdir()] == ["toy.zarr"]  # neither lock nor leftovers


def test_what_a_repair_could_do_it_does_at_once(
    root: Path, tree: Tree, flip: Flip, apart: Callable[[Path, int], list[Place]]
) -> None:
    for place in apart(root, 0):
        flip(root / place[0], *place[1:])
    assert repair(root).found != []
    before = tree(root)
    assert repair(root) == Repair([], [], {})
    assert tree(root) == before


def test_a_store_that_is_being_written_is_not_repaired(
    root: Path, tree: Tree, harms: dict[str, Callable[[Path], None]]
) -> None:
    harms["zeroed"](root / "zarr.json")
    hold = "import sys; from pathlib import Path; from mmcache.store.ground.lock import writer_lock\n"
    hold += "with writer_lock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        before = tree(root)
        with pytest.raises(StoreError, match=rf"is being written by another process \(pid {holder.pid}\)"):
            repair(root)
        assert tree(root) == before
        holder.communicate("")


def foreign_group(root: Path) -> None:
    group = zarr.create_group(root, zarr_format=3, attributes={"made_by": "another program"})
    group.create_array("x", shape=(4,), dtype="float32")[:] = 1


def newer_version(root: Path) -> None:
    """Sealed as the newer program would, with a spare copy."""
    meta = dataclasses.asdict(read_meta(root))
    write_group(root, "", {"mmcache": {**meta, "format_version": meta["format_version"] + 1}})


def newer_version_unsealed(root: Path) -> None:
    """As a newer program that has another way of checking its files may have it."""
    document = json.loads((root / "zarr.json").read_bytes())
    document["attributes"] = {"mmcache": {**document["attributes"]["mmcache"], "format_version": 2}}
    (root / "zarr.json").write_text(json.dumps(document))
    shutil.rmtree(root / SPARE)


@pytest.mark.parametrize("look", [verify, repair])
@pytest.mark.parametrize("damaged", [False, True])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (foreign_group, "a Zarr group but not an mmcache store"),
        (newer_version, "has store format 2; this mmcache reads up to 1. Upgrade mmcache"),
        (newer_version_unsealed, "has store format 2; this mmcache reads up to 1. Upgrade mmcache"),
    ],
)
def test_what_is_foreign_or_newer_is_refused_and_not_changed_by_a_byte(
    sound: Path,
    make_folder: Callable[[], Path],
    tree: Tree,
    change: Callable[[Path], None],
    message: str,
    damaged: bool,
    look: Callable[[Path], object],
    flip: Flip,
) -> None:
    root = make_folder() / "toy.zarr"
    if change is not foreign_group:
        shutil.copytree(sound, root)
    change(root)
    if damaged:
        file = next(path for path in sorted(root.rglob("c/**/*")) if path.is_file())
        flip(file, 3, 3)
    before = tree(root.parent)
    with pytest.raises(StoreError, match=message):
        look(root)
    assert tree(root.parent) == before


@pytest.mark.parametrize("look", [verify, repair])
def test_no_store_is_a_store_error_and_stays_none(tmp_path: Path, look: Callable[[Path], object]) -> None:
    with pytest.raises(StoreError, match="no store at"):
        look(tmp_path / "toy.zarr")
    assert list(tmp_path.iterdir()) == []


def test_what_is_refused_keeps_its_temporary_files_too(tmp_path: Path) -> None:
    zarr.create_group(tmp_path / "other")
    theirs = tmp_path / "other/.tmp-1-theirs"
    theirs.touch()
    with pytest.raises(StoreError):
        repair(tmp_path / "other")
    assert theirs.exists()
