import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmcache.store.ground.errors import StoreError
from mmcache.store.read.gather import gather

PROPERTY = settings(max_examples=30)
SIZE = 1 << 20


@pytest.fixture(scope="module")
def data() -> bytes:
    return np.random.default_rng(0).integers(0, 256, SIZE, np.uint8).tobytes()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> int:
    path = tmp_path_factory.mktemp("gather") / "data"
    path.write_bytes(data)
    return os.open(path, os.O_RDONLY)


def read(file: int, offsets: list[int], length: int) -> bytes:
    out = bytearray(len(offsets) * length)
    views = [memoryview(out)[i * length : (i + 1) * length] for i in range(len(offsets))]
    gather(views, [file] * len(offsets), offsets)
    return bytes(out)


@PROPERTY
@given(offsets=st.lists(st.integers(0, SIZE - 200_000), max_size=20), length=st.integers(1, 200_000))
def test_every_piece_comes_from_its_place(offsets: list[int], length: int, file: int, data: bytes) -> None:
    """From one thread where there is little to read, from several where there is much."""
    assert read(file, offsets, length) == b"".join(data[offset : offset + length] for offset in offsets)


@pytest.mark.parametrize("others", [0, 20])
def test_a_file_that_ends_inside_a_piece_is_an_error_on_any_thread(others: int, file: int) -> None:
    offsets = [*[0] * others, SIZE - 50_000]
    with pytest.raises(StoreError, match="the file was truncated"):
        read(file, offsets, 100_000)
    with pytest.raises(StoreError, match="the file was truncated"):
        read(file, offsets[::-1], 100_000)


def test_a_closed_file_is_an_error_not_a_hang(file: int) -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        read(os.dup(file) + 500, [0] * 20, 100_000)
    assert len(read(file, [0] * 20, 100_000)) == 2_000_000


def test_many_threads_may_gather_at_once(file: int, data: bytes) -> None:
    offsets = [[i * 1000 + j * 30_000 for j in range(12)] for i in range(40)]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda some: read(file, some, 60_000), offsets))
    for some, result in zip(offsets, results, strict=True):
        assert result == b"".join(data[offset : offset + 60_000] for offset in some)


def test_a_forked_child_gathers_with_threads_of_its_own(file: int, data: bytes, tmp_path: Path) -> None:
    """A PyTorch DataLoader forks workers after the parent has read; the parent's threads are not there."""
    expected = read(file, [0] * 20, 100_000)
    process = os.fork()
    if process == 0:
        good = read(file, [0] * 20, 100_000) == expected
        os._exit(0 if good else 1)
    assert os.waitpid(process, 0)[1] == 0
