from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from mmcache.store import StoreError
from mmcache.store.format.layout import write_plain_array
from mmcache.store.format.small_array import chunk_is_sound, read_small_array, write_chunk

PROPERTY = settings(max_examples=25)
KINDS = {"present": ("uint8", 3), "length": ("int32", 0), "error": ("float32", float("nan"))}


@PROPERTY
@given(n=st.integers(1, 9), rows=st.integers(1, 4), n_views=st.sampled_from([1, 2]), kind=st.sampled_from([*KINDS]))
def test_what_is_written_is_read_back_and_is_what_zarr_writes(
    n: int,
    rows: int,
    n_views: int,
    kind: str,
    make_folder: Callable[[], Path],
    tree: Callable[[Path], dict[str, bytes]],
) -> None:
    """The last chunk is padded, as Zarr pads it."""
    views = () if kind == "present" else (n_views,)
    shape, chunk = (n, *views), (rows, *views)
    dtype, fill = KINDS[kind]
    low, high = (0, 3) if kind == "present" else (1, 100)  # zarr writes no chunk of fill values alone
    values = np.random.default_rng(n).integers(low, high, shape).astype(dtype)
    root = make_folder()
    for name in ("ours", "theirs"):
        write_plain_array(root, name, shape, dtype, chunk, fill)
    for number, start in enumerate(range(0, n, rows)):
        padded = np.full(chunk, fill, dtype)
        padded[: n - start] = values[start : start + rows]
        write_chunk(root / "ours" / "c" / str(number) / ("0" if views else ""), padded)
    np.testing.assert_array_equal(read_small_array(root / "ours", kind), values)
    zarr.open_array(root / "theirs", mode="r+")[...] = values
    np.testing.assert_array_equal(read_small_array(root / "theirs", kind), values)
    assert tree(root / "ours") == tree(root / "theirs")


@pytest.fixture
def array(tmp_path: Path) -> Path:
    """Seven values in chunks of three, the second chunk not written."""
    write_plain_array(tmp_path, "present", (7,), "uint8", (3,), 3)
    write_chunk(tmp_path / "present/c/0", np.array([1, 0, 2], np.uint8))
    write_chunk(tmp_path / "present/c/2", np.array([1, 3, 3], np.uint8))
    return tmp_path / "present"


def test_a_chunk_that_was_not_written_is_the_fill_value(array: Path) -> None:
    assert read_small_array(array, "present").tolist() == [1, 0, 2, 3, 3, 3, 1]


def test_every_flipped_bit_of_a_chunk_is_a_store_error(array: Path) -> None:
    chunk = array / "c/0"
    whole = chunk.read_bytes()
    assert len(whole) == 3 + 4
    assert chunk_is_sound(chunk)
    for place in range(len(whole)):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << bit
            chunk.write_bytes(damaged)
            assert not chunk_is_sound(chunk)
            with pytest.raises(StoreError, match=r"present cannot be read .*verify --repair"):
                read_small_array(array, "present")


def test_every_truncation_of_a_chunk_is_a_store_error(array: Path) -> None:
    chunk = array / "c/0"
    whole = chunk.read_bytes()
    for size in range(len(whole)):
        chunk.write_bytes(whole[:size])
        assert not chunk_is_sound(chunk)
        with pytest.raises(StoreError, match=r"present cannot be read .*verify --repair"):
            read_small_array(array, "present")


@pytest.mark.parametrize("content", [None, b"", b"{", b"\0" * 200, b"{}"])
def test_an_array_without_its_metadata_is_a_store_error(array: Path, content: bytes | None) -> None:
    if content is None:
        (array / "zarr.json").unlink()
    else:
        (array / "zarr.json").write_bytes(content)
    with pytest.raises(StoreError, match=r"present( is missing|/zarr\.json is damaged).*verify --repair"):
        read_small_array(array, "present")


def test_a_chunk_is_replaced_whole(array: Path) -> None:
    write_chunk(array / "c/0", np.array([0, 0, 0], np.uint8))
    assert read_small_array(array, "present").tolist() == [0, 0, 0, 3, 3, 3, 1]
    assert sorted(path.name for path in (array / "c").iterdir()) == ["0", "2"]
