import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mmcache.store.files.atomic import TEMPORARY_PREFIX, atomic_file, atomic_write, reference_copy, remove_leftovers


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_the_file_has_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folders" / "file"
    atomic_write(path, b"first")
    assert path.read_bytes() == b"first"
    atomic_write(path, b"second")
    assert path.read_bytes() == b"second"
    assert names(tmp_path) == ["file"]


def test_readers_see_the_old_file_until_the_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    atomic_write(path, b"old")
    with atomic_file(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "file"
    atomic_write(path, b"old")

    def write_and_fail() -> None:
        with atomic_file(path) as file:
            file.write(b"new")
            raise error

    with pytest.raises(error):
        write_and_fail()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_a_disk_that_takes_no_more_leaves_the_old_file(tmp_path: Path) -> None:
    """Here the system refuses to let a file grow past 1000 bytes."""
    path = tmp_path / "file"
    atomic_write(path, b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        with pytest.raises(OSError, match="File too large"):
            atomic_write(path, b"n" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_a_kill_leaves_the_old_file_and_a_leftover_that_can_be_removed(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    atomic_write(path, b"old")
    code = f"""
import os, signal
from pathlib import Path
from mmcache.store.files.atomic import atomic_file
with atomic_file(Path({str(path)!r})) as file:
    file.write(b"n" * 100_000)
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    assert [name.startswith(TEMPORARY_PREFIX) for name in names(tmp_path)] == [True, False]
    assert remove_leftovers(tmp_path) == 1
    assert names(tmp_path) == ["file"]
    assert remove_leftovers(tmp_path) == 0


def test_only_temporary_files_are_leftovers(tmp_path: Path) -> None:
    for name in ("a", ".hidden", "x.tmp-1", f"{TEMPORARY_PREFIX}1-a", f"deep/{TEMPORARY_PREFIX}2-b"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert remove_leftovers(tmp_path) == 2
    assert names(tmp_path) == [".hidden", "a", "x.tmp-1"]


@pytest.mark.parametrize("name", ["epic.zarr", "a[1].zarr"])
def test_beside_a_folder_only_its_own_leftovers_are_removed(tmp_path: Path, name: str) -> None:
    """Another process may be making a store whose name ends as this one's does."""
    (tmp_path / name).mkdir()
    for own in (f"{TEMPORARY_PREFIX}1-{name}", f"{TEMPORARY_PREFIX}23-{name}"):
        (tmp_path / own / "tokens").mkdir(parents=True)
    others = {f"{TEMPORARY_PREFIX}1-{other}" for other in (f"my-{name}", f"2-{name}x", f"{name}.bak", "a1.zarr")}
    for other in others:
        (tmp_path / other / "tokens").mkdir(parents=True)
    assert remove_leftovers(tmp_path / name) == 2
    assert {path.name for path in tmp_path.iterdir()} == {name, *others}


def test_two_processes_writing_one_file_leave_one_of_their_files(tmp_path: Path) -> None:
    path = tmp_path / "file"
    code = f"""
import sys
from collections.abc import Callable
from pathlib import Path
from mmcache.store.files.atomic import atomic_write
for _ in range(100):
    atomic_write(Path({str(path)!r}), sys.argv[1].encode() * 50_000)
"""
    writers = [subprocess.Popen([sys.executable, "-c", code, letter]) for letter in "ab"]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            seen.add(path.read_bytes())
    assert [writer.returncode for writer in writers] == [0, 0]
    assert seen | {path.read_bytes()} <= {b"a" * 50_000, b"b" * 50_000}
    assert names(tmp_path) == ["file"]
    assert os.path.getsize(path) == 50_000


# By reference.


@pytest.fixture
def other_file_system(tmp_path: Path, make_folder: Callable[[], Path]) -> Path:
    folder = make_folder()
    if folder.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is only one file system")
    return folder


def test_a_reference_has_the_bytes_and_survives_the_original(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "new" / "folders" / "target"
    source.write_bytes(b"shard")
    reference_copy(source, target)
    assert target.read_bytes() == b"shard"
    assert names(tmp_path) == ["source", "target"]
    atomic_write(source, b"other")  # as every writer of a store does it
    assert target.read_bytes() == b"shard"
    source.unlink()
    assert target.read_bytes() == b"shard"


def test_a_reference_takes_the_place_of_what_is_there(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"new")
    target.write_bytes(b"old and longer")
    reader = open(target, "rb")  # noqa: SIM115 - the old file, which its readers keep
    reference_copy(source, target)
    with reader:
        assert reader.read() == b"old and longer"
    assert target.read_bytes() == b"new"


def test_a_second_time_and_onto_itself_nothing_changes(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"shard")
    for _ in range(2):
        reference_copy(source, target)
        assert names(tmp_path) == ["source", "target"]
    reference_copy(source, source)
    assert source.read_bytes() == target.read_bytes() == b"shard"
    assert names(tmp_path) == ["source", "target"]


def test_no_byte_is_copied_on_one_file_system(tmp_path: Path) -> None:
    """Here the system refuses to let a file grow past 1000 bytes."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"s" * 100_000)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        reference_copy(source, target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert target.read_bytes() == source.read_bytes()


def test_across_file_systems_it_is_a_copy(tmp_path: Path, other_file_system: Path) -> None:
    source, target = other_file_system / "source", tmp_path / "target"
    source.write_bytes(b"shard")
    reference_copy(source, target)
    assert target.read_bytes() == b"shard"
    assert (source.stat().st_nlink, target.stat().st_nlink) == (1, 1)
    assert names(tmp_path) == ["target"]


def test_a_copy_that_cannot_be_finished_leaves_the_old_file(tmp_path: Path, other_file_system: Path) -> None:
    source, target = other_file_system / "source", tmp_path / "target"
    source.write_bytes(b"s" * 100_000)
    target.write_bytes(b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        with pytest.raises(OSError, match="File too large"):
            reference_copy(source, target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["target"]


def test_a_reference_to_nothing_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"old")
    with pytest.raises(FileNotFoundError):
        reference_copy(tmp_path / "nowhere", target)
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["target"]
