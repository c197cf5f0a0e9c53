from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from mmcache.store import StoreError
from mmcache.store.format import teacher_logits as logits
from mmcache.store.format.teacher_logits import LogitsCache

N, VIEWS, SUBSETS = 7, 2, 3
TASKS = {"verb": 4, "noun": 6}
ATTRIBUTES = {"modalities": ["audio", "rgb"], "subsets": ["audio", "rgb", "audio+rgb"]}


@pytest.fixture
def root(make_store: Callable[..., Path]) -> Path:
    return make_store({"rgb": np.ones((N, VIEWS, 1, 2), np.float16)})


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of three rows, so that seven rows are two whole ones and a part."""
    monkeypatch.setattr(logits, "_CHUNK_BYTES", 3 * VIEWS * SUBSETS * max(TASKS.values()) * 2)


def open_cache(root: Path) -> LogitsCache:
    return LogitsCache(root, "karmma-0a1b", N, VIEWS, SUBSETS, TASKS, ATTRIBUTES)


def answers() -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    values = {task: rng.standard_normal((N, VIEWS, SUBSETS, classes)).astype("f4") for task, classes in TASKS.items()}
    values["verb"][2, :, 1] = np.nan  # a segment with nothing of the second subset
    return values


@pytest.mark.usefixtures("small_blocks")
def test_blocks_are_written_once_and_read_back(root: Path) -> None:
    cache, values = open_cache(root), answers()
    assert cache.missing_blocks() == [range(3), range(3, 6), range(6, 7)]
    for rows in cache.missing_blocks():
        cache.write_block(rows, {task: block[rows.start : rows.stop] for task, block in values.items()})
    assert cache.missing_blocks() == []
    for task in TASKS:
        for view in range(VIEWS):
            np.testing.assert_array_equal(cache.read(task, view), values[task][:, view].astype(np.float16))


@pytest.mark.usefixtures("small_blocks")
def test_an_interrupted_cache_is_continued(root: Path, tree: Callable[[Path], dict[str, bytes]]) -> None:
    values = answers()
    first = open_cache(root)
    first.write_block(range(3, 6), {task: block[3:6] for task, block in values.items()})
    before = tree(first.path)
    second = open_cache(root)
    assert second.missing_blocks() == [range(3), range(6, 7)]
    assert np.isnan(second.read("noun")[:3]).all()
    np.testing.assert_array_equal(second.read("noun")[3:6], values["noun"][3:6, 0].astype(np.float16))
    for rows in second.missing_blocks():
        second.write_block(rows, {task: block[rows.start : rows.stop] for task, block in values.items()})
    after = tree(first.path)
    assert {name: after[name] for name in before} == before


@pytest.mark.usefixtures("small_blocks")
def test_a_block_lacking_one_task_is_missing(root: Path) -> None:
    cache, values = open_cache(root), answers()
    for rows in cache.missing_blocks():
        cache.write_block(rows, {task: block[rows.start : rows.stop] for task, block in values.items()})
    (cache.path / "noun/c/1/0/0/0").unlink()
    assert cache.missing_blocks() == [range(3, 6)]


def test_plain_zarr_reads_the_logits(root: Path) -> None:
    cache, values = open_cache(root), answers()
    cache.write_block(range(N), values)
    group = zarr.open_group(root, mode="r")["logits/karmma-0a1b"]
    assert dict(group.attrs).items() >= ATTRIBUTES.items()
    for task in TASKS:
        np.testing.assert_array_equal(group[task][:], values[task].astype(np.float16))


def test_a_flipped_byte_is_noticed(root: Path) -> None:
    cache = open_cache(root)
    cache.write_block(range(N), answers())
    chunk = cache.path / "verb/c/0/0/0/0"
    raw = bytearray(chunk.read_bytes())
    raw[10] ^= 1
    chunk.write_bytes(raw)
    with pytest.raises(StoreError, match="logits/karmma-0a1b/verb"):
        cache.read("verb")


@pytest.mark.parametrize("teacher", ["", "../x", "a/b"])
def test_a_teacher_that_cannot_name_a_folder_is_refused(root: Path, teacher: str) -> None:
    with pytest.raises(StoreError, match=r"teacher .* cannot name a folder"):
        LogitsCache(root, teacher, N, VIEWS, SUBSETS, TASKS, ATTRIBUTES)
    assert not (root / "logits").exists()
