"""Faults of the world, injected for real: full and read-only disks, lost files, newer stores, several processes."""

import dataclasses
import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mmcache.store import FeatureStore, Presence, StoreError
from mmcache.store.exchange.hdf5_import import import_hdf5
from mmcache.store.format.layout import read_meta, write_group
from mmcache.store.manage.verify import verify

Tree = Callable[[Path], dict[str, bytes]]
N, TOKENS, WIDTH = 48, 16, 64
ROW_BYTES = TOKENS * WIDTH * 2
SHARD_ROWS = 12
SHARD_MB = SHARD_ROWS * ROW_BYTES / 2**20
PRESENT = {"a": np.ones(N, np.uint8), "b": (np.arange(N) % 5 > 0).astype(np.uint8)}
PAGE = 4096
COMMAND = [sys.executable, "-c", "from mmcache.cli.main import main; main()"]
ENVIRONMENT = {**os.environ, "COLUMNS": "1000"}  # else long messages are broken into lines


@dataclasses.dataclass
class Done:
    """What a command left: its exit code, what it printed, and its error message."""

    code: int
    out: str
    error: str


def done(process: subprocess.Popen[str]) -> Done:
    """Wait for a command; a traceback, or more than one line of error, fails the test."""
    out, err = process.communicate()
    assert "Traceback" not in out + err
    errors = err[err.find("error: ") :].splitlines() if "error: " in err else []
    assert len(errors) == (process.returncode != 0 and "error: " in err)
    return Done(process.returncode, out, "".join(errors))


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def mmcache(*arguments: object) -> Done:
    """Run the real command line in a process of its own."""
    return done(start(*arguments))


@pytest.fixture(scope="module")
def features(make_folder: Callable[[], Path]) -> Path:
    """Two modalities of 48 segments: one whole, one with gaps and varying lengths."""
    path = make_folder() / "features.h5"
    with h5py.File(path, "w") as file:
        for seed, name in enumerate("ab"):
            values = 1 + np.random.default_rng(seed).random((N, TOKENS, WIDTH))
            file[f"features/{name}"] = values.astype(np.float16)
        file["present/b"] = PRESENT["b"]
        file["lengths/b"] = np.where(PRESENT["b"] == 1, 7, 0)
        file["labels/verb"] = np.arange(N) % 3
        file["ids"] = [f"s{row:02}" for row in range(N)]
        file["split"] = ["train"] * N
    return path


def import_(features: Path, root: Path) -> None:
    import_hdf5(features, root, int(SHARD_MB * 2**20))


@pytest.fixture(scope="module")
def undisturbed(features: Path, make_folder: Callable[[], Path]) -> Path:
    """The store of an import that nothing disturbed; read only."""
    root = make_folder() / "toy.zarr"
    import_(features, root)
    return root


@pytest.fixture
def root(undisturbed: Path, make_folder: Callable[[], Path]) -> Path:
    """A copy of it to damage."""
    return Path(shutil.copytree(undisturbed, make_folder() / "toy.zarr"))


# A full disk.


def pages(data: bytes) -> int:
    return -(-len(data) // PAGE)


def pages_before_second_shard_of_b(files: dict[str, bytes]) -> int:
    """What an import has written by then; the lock takes one more."""
    later = [f"{kind}/b/hdf5/c/{shard}" for kind in ("tokens", "length", "present") for shard in (1, 2, 3)]
    return 1 + sum(pages(data) for name, data in files.items() if not any(name.startswith(start) for start in later))


def test_a_disk_that_is_full_in_the_middle_of_a_shard_costs_that_shard_only(
    disk: Any, features: Path, undisturbed: Path, tree: Tree
) -> None:
    root = disk.path / "toy.zarr"
    command = ("store", "import", features, "--store", root, "--shard-mb", SHARD_MB)
    disk.fill(pages_before_second_shard_of_b(tree(undisturbed)) + 3)
    for _ in range(2):  # again, while nothing has changed
        stopped = mmcache(*command)
        assert stopped.code == 1
        assert "No space left on device" in stopped.error
        assert str(root / "tokens/b/hdf5/c/1/0/0/0") in stopped.error
        assert "the same command continues from there" in stopped.error
    assert verify(root) == []
    before = FeatureStore.open(root)
    cached = {name: np.flatnonzero(before.present[name] == Presence.CACHED) for name in before.modalities}
    assert {name: len(rows) for name, rows in cached.items()} == {"a": N, "b": PRESENT["b"][:SHARD_ROWS].sum()}
    whole = FeatureStore.open(undisturbed)
    for name, rows in cached.items():
        np.testing.assert_array_equal(before.tokens[name].read(rows), whole.tokens[name].read(rows))
    before.close()
    disk.make_space()
    assert mmcache(*command).code == 0
    assert tree(root) == tree(undisturbed)


def test_a_disk_that_is_full_at_any_moment_leaves_a_sound_store_that_the_same_import_finishes(
    disk: Any, features: Path, undisturbed: Path, tree: Tree
) -> None:
    enough = sum(map(pages, tree(undisturbed).values()))
    root = disk.path / "toy.zarr"
    at = []  # where it became full
    for free in range(1, enough, 6):
        disk.fill(free)
        with pytest.raises(OSError, match="No space left on device") as caught:
            import_(features, root)
        assert caught.value.errno == errno.ENOSPC
        at.append(str(caught.value.filename or ""))
        del caught
        if root.exists():
            assert verify(root) == []
            assert list(root.rglob(".tmp-*")) == []
        disk.make_space()
        import_(features, root)
        assert tree(disk.path) == {f"toy.zarr/{name}": data for name, data in tree(undisturbed).items()}
        shutil.rmtree(root)
    for name in "ab":
        assert any(f"/tokens/{name}/" in place for place in at)


# A read-only disk.


def test_on_a_read_only_disk_stores_are_read_and_nothing_is_written(
    disk: Any, features: Path, undisturbed: Path, tree: Tree
) -> None:
    root = disk.path / "toy.zarr"
    shutil.copytree(undisturbed, root)
    disk.remount("ro")
    for command in (
        ("store", "import", features, "--store", root),
        ("store", "verify", root, "--repair"),
        ("store", "export", root, disk.path / "features.h5"),
    ):
        refused = mmcache(*command)
        assert refused.code == 1, command
        assert "Read-only file system" in refused.error, command
        assert str(disk.path) in refused.error, command
    assert mmcache("store", "verify", root).out == f"{root}: sound\n"
    store = FeatureStore.open(root)
    np.testing.assert_array_equal(
        store.tokens["b"].read(np.arange(N)), FeatureStore.open(undisturbed).tokens["b"].read(np.arange(N))
    )
    store.close()
    assert tree(disk.path) == {f"toy.zarr/{name}": data for name, data in tree(undisturbed).items()}


# Lost and truncated shards.


def test_a_deleted_shard_reads_as_zeros_and_verify_names_its_segments(root: Path, undisturbed: Path) -> None:
    """An absent chunk is the fill value, as Zarr has it: that it should be there is for presence and verify to say."""
    (root / "tokens/b/hdf5/c/1/0/0/0").unlink()
    lost = np.arange(SHARD_ROWS, 2 * SHARD_ROWS)
    kept = np.setdiff1d(np.arange(N), lost)
    array = FeatureStore.open(root).tokens["b"]
    assert (array.read(lost) == 0).all()
    np.testing.assert_array_equal(array.read(kept), FeatureStore.open(undisturbed).tokens["b"].read(kept))
    named = {segment for finding in verify(root) for segment in finding.segments}
    assert named == {f"s{row:02}" for row in lost if PRESENT["b"][row]}
    said = mmcache("store", "verify", root)
    assert said.code == 1
    first = sorted(named)[:3]
    assert (
        f"b/hdf5: presence says cached, but view 0 has no tokens ({len(named)} segments, such as {', '.join(first)})"
        in (said.out)
    )


@pytest.mark.parametrize("kept", [0, 100, ROW_BYTES * SHARD_ROWS, -1])
def test_a_truncated_shard_is_a_store_error_and_verify_names_its_segments(
    root: Path, undisturbed: Path, kept: int
) -> None:
    shard = root / "tokens/b/hdf5/c/1/0/0/0"
    os.truncate(shard, kept if kept >= 0 else shard.stat().st_size + kept)
    lost = np.arange(SHARD_ROWS, 2 * SHARD_ROWS)
    rest = np.setdiff1d(np.arange(N), lost)
    array = FeatureStore.open(root).tokens["b"]
    for row in lost:
        with pytest.raises(StoreError, match=r"shard .*c/1/0/0/0"):
            array.read(np.array([row]))
    np.testing.assert_array_equal(array.read(rest), FeatureStore.open(undisturbed).tokens["b"].read(rest))
    (finding,) = verify(root)
    assert finding.segments == tuple(f"s{row:02}" for row in lost if PRESENT["b"][row])


def test_a_truncated_shard_ends_every_command_that_reads_it_with_a_message(root: Path, tmp_path: Path) -> None:
    os.truncate(root / "tokens/b/hdf5/c/1/0/0/0", 100)
    for command in (
        ("store", "export", root, tmp_path / "features.h5"),
        ("store", "reduce", root, "--k", 4),
    ):
        stopped = mmcache(*command)
        assert stopped.code == 1, command
        assert "tokens/b/hdf5" in stopped.error, command
    assert not (tmp_path / "features.h5").exists()
    said = mmcache("store", "verify", root)
    assert said.code == 1
    assert "c/1/0/0/0 is truncated: 100 bytes, its index alone has 196 (10 segments, such as s12, s13, s14)" in said.out


def test_what_was_lost_is_imported_again_after_a_repair(
    root: Path, features: Path, undisturbed: Path, tree: Tree
) -> None:
    (root / "tokens/a/hdf5/c/0/0/0/0").unlink()
    os.truncate(root / "tokens/b/hdf5/c/1/0/0/0", 100)
    os.truncate(root / "segments.parquet", 100)
    assert mmcache("store", "verify", root).code == 1
    mended = mmcache("store", "verify", root, "--repair")
    assert mended.code == 0
    assert f"{root}: repaired" in mended.out
    assert mmcache("store", "import", features, "--store", root).code == 0
    assert tree(root) == tree(undisturbed)


# A store of a newer format.


def test_a_newer_store_is_refused_by_every_command_with_the_advice_to_upgrade(
    root: Path, features: Path, tmp_path: Path, tree: Tree
) -> None:
    meta = dataclasses.asdict(read_meta(root))
    write_group(root, "", {"mmcache": {**meta, "format_version": meta["format_version"] + 1}})
    before = tree(root.parent)
    for command in (
        ("store", "info", root),
        ("store", "verify", root, "--repair"),
        ("store", "export", root, tmp_path / "features.h5"),
        ("store", "import", features, "--store", root),
    ):
        refused = mmcache(*command)
        assert refused.code == 1, command
        assert "store format 2; this mmcache reads up to 1. Upgrade mmcache" in refused.error, command
    assert tree(root.parent) == before
    assert list(tmp_path.iterdir()) == []


# Several processes at once.

READ_ON_AND_ON = """
import json, sys
from pathlib import Path
import numpy as np
from mmcache.store import FeatureStore, Presence
from mmcache.store.ground.errors import NoStoreError
root, whole, stop = map(Path, sys.argv[1:])
expected = {name: array.read(np.arange(array.shape[0])) for name, array in FeatureStore.open(whole).tokens.items()}
seen, wrong, last = set(), [], False
print("ready", flush=True)
while not last:
    last = stop.exists()
    try:
        store = FeatureStore.open(root)
    except NoStoreError:
        continue
    for name in store.modalities:
        rows = np.flatnonzero(store.present[name] == Presence.CACHED)
        if not np.array_equal(store.tokens[name].read(rows), expected[name][rows]):
            wrong.append(f"{name} with {len(rows)} rows cached")
        if not np.array_equal(store.tokens[name].read(rows, check=True), expected[name][rows]):
            wrong.append(f"{name} with {len(rows)} rows cached, checked")
        seen.add((name, len(rows)))
    store.close()
print(json.dumps({"seen": sorted(seen), "wrong": wrong}))
"""


@pytest.mark.parametrize("times", [1, pytest.param(6, marks=pytest.mark.slow)])
def test_of_two_writers_at_once_one_is_refused_and_readers_see_only_right_tokens(
    times: int, features: Path, undisturbed: Path, make_folder: Callable[[], Path], tree: Tree
) -> None:
    codes, states = [], set()
    for _ in range(times):
        folder = make_folder()
        root, stop = folder / "toy.zarr", folder.with_suffix(".stop")
        reading = [sys.executable, "-W", "error", "-c", READ_ON_AND_ON, str(root), str(undisturbed), str(stop)]
        with subprocess.Popen(reading, stdout=subprocess.PIPE, text=True) as reader:
            try:
                assert reader.stdout is not None
                assert reader.stdout.readline() == "ready\n"
                command = ("store", "import", features, "--store", root, "--shard-mb", SHARD_MB)
                writers = [done(process) for process in [start(*command), start(*command)]]
            finally:
                stop.touch()
            answer = json.loads(reader.stdout.read())
        assert reader.returncode == 0
        assert answer["wrong"] == []
        states |= {tuple(state) for state in answer["seen"]}
        codes += [writer.code for writer in writers]
        assert 0 in [writer.code for writer in writers]
        for writer in (writer for writer in writers if writer.code):
            assert writer.code == 1
            assert f"{root} is being written by another process (pid " in writer.error
            assert "Wait for it to finish, or stop it; nothing was changed." in writer.error
        assert tree(folder) == {f"toy.zarr/{name}": data for name, data in tree(undisturbed).items()}
        assert verify(root) == []
    assert {("a", N), ("b", int(PRESENT["b"].sum()))} <= states


def test_after_one_of_two_writers_is_killed_the_other_finishes_its_work(
    features: Path, undisturbed: Path, make_folder: Callable[[], Path], tree: Tree
) -> None:
    folder = make_folder()
    root = folder / "toy.zarr"
    command = ("store", "import", features, "--store", root, "--shard-mb", SHARD_MB)
    first = start(*command)
    while first.poll() is None and not list(root.glob("present/*/*/c/*")):
        pass  # until a shard is done
    first.kill()
    first.communicate()
    assert mmcache(*command).code == 0
    assert tree(folder) == {f"toy.zarr/{name}": data for name, data in tree(undisturbed).items()}
