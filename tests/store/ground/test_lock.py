import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mmcache.store import StoreError
from mmcache.store.ground.lock import writer_lock


def held_by_us(store: Path) -> bool:
    with writer_lock(store):
        return True


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path: Path, another_process_holds: Callable) -> None:
    store = tmp_path / "toy.zarr"
    with another_process_holds(store) as holder:
        for _ in range(2):
            with pytest.raises(
                StoreError, match=rf"toy\.zarr is being written by another process \(pid {holder.pid}\)"
            ):
                held_by_us(store)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert held_by_us(store)


def test_a_second_process_is_let_in_when_the_first_is_done(tmp_path: Path, another_process_holds: Callable) -> None:
    store = tmp_path / "toy.zarr"
    with another_process_holds(store) as holder:
        holder.communicate("")
        assert holder.returncode == 0
        assert list(tmp_path.iterdir()) == []
        assert held_by_us(store)


def test_the_holder_is_this_process_while_it_writes(tmp_path: Path) -> None:
    store = tmp_path / "toy.zarr"
    with (
        writer_lock(store),
        pytest.raises(StoreError, match=rf"another process \(pid {os.getpid()}\)"),
        writer_lock(store),
    ):
        pass
    assert held_by_us(store)


def test_an_error_lets_go(tmp_path: Path) -> None:
    store = tmp_path / "toy.zarr"
    with pytest.raises(ZeroDivisionError), writer_lock(store):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    assert held_by_us(store)


def test_the_lock_file_of_a_killed_writer_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / ".toy.zarr.lock").write_text("123456789 and more than a pid")
    with writer_lock(tmp_path / "toy.zarr"):
        assert (tmp_path / ".toy.zarr.lock").read_text() == str(os.getpid())


def test_each_store_has_its_own_lock(tmp_path: Path) -> None:
    with writer_lock(tmp_path / "a.zarr"), writer_lock(tmp_path / "b.zarr"), writer_lock(tmp_path / "sub" / "a.zarr"):
        assert len(list(tmp_path.rglob("*.lock"))) == 3


def test_one_of_many_at_a_time(tmp_path: Path) -> None:
    """Processes that count to 100 in a file under the lock, each trying until it may, lose no count."""
    code = """
import sys
from pathlib import Path
from mmcache.store import StoreError
from mmcache.store.ground.lock import writer_lock
folder, done = Path(sys.argv[1]), 0
counter = folder / "counter"
while done < 100:
    try:
        with writer_lock(folder / "toy.zarr"):
            counter.write_text(str(int(counter.read_text()) + 1))
            done += 1
    except StoreError:
        continue
"""
    (tmp_path / "counter").write_text("0")
    crowd = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stderr=subprocess.PIPE) for _ in range(3)]
    errors = [process.communicate()[1].decode() for process in crowd]
    assert errors == [""] * 3
    assert (tmp_path / "counter").read_text() == "300"
