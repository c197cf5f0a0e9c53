import dataclasses
import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray
from zarr.codecs import Crc32cCodec, ZstdCodec

from mmcache.store import FeatureStore, Presence, StoreError
from mmcache.store.files.sealed import put_file
from mmcache.store.format.layout import SEGMENTS, read_attributes, read_meta, write_group, write_meta
from mmcache.store.format.shard_file import ShardWriter, crc32c
from mmcache.store.format.small_array import write_chunk
from mmcache.store.manage.repair import repair
from mmcache.store.manage.verify import verify
from mmcache.store.segments.segment_table import read_segments, segments_to_bytes

C, M, F, T = Presence.CACHED, Presence.MISSING, Presence.FAILED, Presence.TO_DO
PRESENCE = np.array([C, C, M, F, C, T, C])
LENGTHS = np.array([[2, 1], [1, 1], [0, 0], [0, 0], [2, 2], [0, 0], [1, 2]])


@pytest.fixture(scope="module")
def sound(make_store: Callable[..., Path], random_tokens: Callable[..., NDArray[np.floating]]) -> Path:
    """Seven segments of two views, with lengths, in shards of three; every presence value."""
    return make_store({"m": random_tokens(7, 2, 2, 2)}, 3, {"m": PRESENCE}, {"m": LENGTHS})


@pytest.fixture
def root(sound: Path, make_folder: Callable[[], Path]) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(sound, make_folder() / "toy.zarr"))


def reseal_segments(root: Path) -> None:
    """Have the root and the spare copy vouch for the segments as they are now."""
    data = (root / SEGMENTS).read_bytes()
    put_file(root, SEGMENTS, data)
    meta = read_meta(root)
    write_meta(root, dataclasses.replace(meta, sha256={**meta.sha256, SEGMENTS: hashlib.sha256(data).hexdigest()}))


def said(root: Path) -> list[str]:
    return [str(finding) for finding in verify(root)]


def test_sound_stores_have_no_findings(sound: Path, epic_store: Path) -> None:
    assert verify(sound) == []
    assert verify(epic_store) == []


def test_verify_changes_nothing_and_tells_how_far_it_is(root: Path, tree: Callable[[Path], dict[str, bytes]]) -> None:
    before, steps = tree(root), []
    verify(root, lambda done, total: steps.append((done, total)))
    assert steps == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert tree(root) == before


@pytest.mark.parametrize("every", [11, pytest.param(1, marks=pytest.mark.slow)])
def test_every_flipped_byte_is_found(every: int, root: Path) -> None:
    """Of the tokens, their checksums, the shard indexes, presence and lengths; the slow test has all of their bytes."""
    files = [path for kind in ("tokens", "present", "length") for path in (root / kind).glob("m/enc/c/**/*")]
    files = [path for path in files if path.is_file()]
    assert len(files) == 9
    unnoticed = []
    for path in files:
        whole = path.read_bytes()
        for place in range(0, len(whole), every):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << place % 8
            path.write_bytes(damaged)
            if not verify(root):
                unnoticed.append((path.name, place))
        path.write_bytes(whole)
    assert unnoticed == []
    assert verify(root) == []


def test_flipped_bytes_are_found_in_a_store_of_an_extract(store_copy: Path) -> None:
    files = [path for kind in ("tokens", "present") for path in (store_copy / kind).glob("*/*/c/**/*")]
    files = sorted(path for path in files if path.is_file())
    rng = np.random.default_rng(0)
    for path in rng.choice(np.array(files, object), 40):
        whole = path.read_bytes()
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        modality, encoder = path.relative_to(store_copy).parts[1:3]
        assert {finding.where for finding in verify(store_copy)} == {f"{modality}/{encoder}"}
        path.write_bytes(whole)
    assert verify(store_copy) == []


def test_the_damaged_segment_is_named(root: Path) -> None:
    """The chunk of row 1, view 1 lies fourth in its shard, after three of 8 bytes and their checksums."""
    shard = root / "tokens/m/enc/c/0/0/0/0"
    raw = bytearray(shard.read_bytes())
    raw[3 * 12] ^= 1
    shard.write_bytes(raw)
    assert [(f.where, f.segments, f.rows) for f in verify(root)] == [("m/enc", ("P01_001",), (1,))]
    assert said(root) == ["m/enc segment P01_001: tokens fail their checksum"]


@pytest.mark.parametrize("kept", [0, 1, 40, 99, 100, -1])
def test_a_truncated_shard_is_found(root: Path, kept: int) -> None:
    shard = root / "tokens/m/enc/c/1/0/0/0"
    os.truncate(shard, kept if kept >= 0 else shard.stat().st_size + kept)
    (finding,) = said(root)
    assert re.match(r"m/enc segment P01_004: .*c/1/0/0/0.*truncated", finding)


def test_a_deleted_shard_is_found(root: Path) -> None:
    (root / "tokens/m/enc/c/0/0/0/0").unlink()
    assert {finding.segments for finding in verify(root)} == {("P01_000",), ("P01_001",)}
    assert said(root)[0] == "m/enc segment P01_000: presence says cached, but view 0 has no tokens"


@pytest.mark.parametrize(
    ("status", "message"),
    [
        ([M, C, M], "P01_000: presence says missing, but view 0 has tokens"),
        ([F, C, M], "P01_000: presence says failed, but view 0 has tokens"),
        ([C, C, C], "P01_002: presence says cached, but view 0 has no tokens"),
        (
            [9, C, M],
            "segments P01_000 to P01_002 (3): presence: says 9 for P01_000 (1 such), which is no presence value",
        ),
        (
            [C, C, 77],
            "segments P01_000 to P01_002 (3): presence: says 77 for P01_002 (1 such), which is no presence value",
        ),
    ],
)
def test_presence_that_contradicts_the_chunks_is_found(root: Path, status: list[int], message: str) -> None:
    """With a right checksum."""
    write_chunk(root / "present/m/enc/c/0", np.array(status, np.uint8))
    assert any(message in finding for finding in said(root))


def test_one_view_that_is_lacking_is_found(root: Path) -> None:
    writer = ShardWriter(root / "tokens/m/enc/c/2/0/0/0", 6)
    writer.put(0, np.ones((2, 2), np.float16).tobytes())
    writer.commit()
    assert said(root) == ["m/enc segment P01_006: presence says cached, but view 1 has no tokens"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_found_under_a_right_checksum(root: Path, value: float) -> None:
    writer = ShardWriter(root / "tokens/m/enc/c/2/0/0/0", 6)
    writer.put(0, np.ones((2, 2), np.float16).tobytes())
    writer.put(1, np.array([[1, 1], [1, value]], np.float16).tobytes())
    writer.commit()
    assert said(root) == ["m/enc segment P01_006: tokens hold NaN or infinity"]


def test_chunks_of_another_size_are_found(root: Path) -> None:
    writer = ShardWriter(root / "tokens/m/enc/c/2/0/0/0", 6)
    writer.put(0, b"abcd")
    writer.put(1, b"efgh")
    writer.commit()
    assert said(root) == ["m/enc segment P01_006: chunk has 8 bytes, expected 12"] * 2


@pytest.mark.parametrize("length", [0, 3, -1, 2**31 - 1])
def test_lengths_outside_are_found(root: Path, length: int) -> None:
    write_chunk(root / "length/m/enc/c/2/0", np.array([[2, length], [0, 0], [0, 0]], np.int32))
    assert said(root) == [f"m/enc segment P01_006: length {length} is outside 1..2"]


def test_deleted_lengths_are_found(root: Path) -> None:
    (root / "length/m/enc/c/0/0").unlink()
    assert said(root) == ["m/enc segments P01_000 to P01_001 (2): token counts: the chunk is missing"]


@pytest.mark.parametrize("name", ["present/m/enc/zarr.json", "tokens/m/enc/zarr.json"])
def test_deleted_metadata_is_found(make_store: Callable[..., Path], name: str) -> None:
    """Without it a reader passes the tokens over, as if they had never been there."""
    root = make_store({"m": np.ones((3, 1, 2, 3), np.float16)})
    (root / name).unlink()
    assert any("m/enc" in finding for finding in said(root))


def test_a_modality_that_lost_its_list_of_encoders_is_found(make_store: Callable[..., Path]) -> None:
    """The same: the tokens are there, but no reader sees them."""
    root = make_store({"m": np.ones((3, 1, 2, 3), np.float16)})
    write_group(root, "tokens/m", {})
    assert any("m/enc" in finding for finding in said(root))


def test_failures_that_presence_does_not_know_are_found(root: Path) -> None:
    line = {"id": "P01_000", "modality": "m", "encoder": "enc", "reason": "bad file"}
    with open(root / "failures.jsonl", "a") as file:
        file.write(json.dumps(line) + "\n")
    assert said(root) == [
        "failures.jsonl: fails its checksum",
        "failures.jsonl segment P01_000: m/enc is listed as failed",
    ]


def test_failures_that_are_not_listed_are_found(root: Path) -> None:
    (root / "failures.jsonl").unlink()
    assert said(root) == [
        "failures.jsonl: is missing",
        "failures.jsonl segment P01_003: m/enc is not listed as failed",
    ]


@pytest.mark.parametrize("content", ["{oops\n", '{"id": "P01_003"}\n', '"text"\n', b"\xff\n", b"\0" * 80])
def test_damaged_failures_are_found(root: Path, content: str | bytes) -> None:
    (root / "failures.jsonl").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert any(finding.startswith("failures.jsonl") for finding in said(root))


def test_segments_that_do_not_fit_the_arrays_are_found(root: Path) -> None:
    path = root / "segments.parquet"
    path.write_bytes(segments_to_bytes(read_segments(path).iloc[:6]))
    reseal_segments(root)
    (found,) = said(root)
    assert re.search(r"segments\.parquet has 6 segments in the splits .*; the root says ", found)
    meta = read_meta(root)
    write_meta(root, dataclasses.replace(meta, splits={"train": 5, "validation": 1}))
    assert re.search(r"m/enc: .*tokens/m/enc has 7 rows, the store 6 segments", said(root)[0])


def test_segments_of_other_splits_than_the_root_says_are_found(root: Path) -> None:
    path = root / "segments.parquet"
    path.write_bytes(segments_to_bytes(read_segments(path).assign(split="train")))
    reseal_segments(root)
    (found,) = said(root)
    assert "7 segments in the splits {'train': 7}; the root says {'train': 6, 'validation': 1}" in found


def test_a_damaged_list_of_encoders_is_found_and_blames_nothing_else(root: Path) -> None:
    (root / "tokens/m/zarr.json").write_bytes(b"\0" * 300)
    first, second, third = said(root)
    assert first == "tokens/m/zarr.json: carries no checksum: it is damaged, or another program wrote it"
    assert second.startswith("m/enc: has data on disk")
    assert re.match(r"tokens/m/zarr\.json: .* is damaged", third)


@pytest.mark.parametrize("name", ["zarr.json", "segments.parquet"])
def test_a_store_that_does_not_open_is_checked_as_far_as_it_goes(root: Path, name: str) -> None:
    (root / name).write_bytes(b"\0" * (root / name).stat().st_size)
    first, *_, last = said(root)
    assert first.startswith(f"{name}: ")
    assert last.startswith("store: the rest can be verified after that is repaired")


def test_several_faults_are_all_found(root: Path) -> None:
    (root / "tokens/m/enc/c/0/0/0/0").unlink()
    os.truncate(root / "tokens/m/enc/c/1/0/0/0", 50)
    (root / "failures.jsonl").unlink()
    assert len(verify(root)) == 4 + 1 + 2


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"compressors": [ZstdCodec(), Crc32cCodec()]}, id="compressed"),
        pytest.param({"shards": None, "compressors": Crc32cCodec()}, id="not-sharded"),
        pytest.param({"shards": {"shape": (2, 1, 3, 4), "index_location": "start"}}, id="index-first"),
    ],
)
def test_arrays_that_only_zarr_can_read_are_checked_too(
    make_store: Callable[..., Path], random_tokens: Callable[..., NDArray[np.floating]], spec: dict[str, object]
) -> None:
    """Sound ones have no findings, damaged ones do."""
    tokens = random_tokens(4, 1, 3, 4)
    root = make_store({"m": tokens})
    path = root / "tokens/m/enc"
    attributes = read_attributes(path)
    shutil.rmtree(path)
    layout = {"shape": tokens.shape, "dtype": "float16", "shards": (2, 1, 3, 4), "chunks": (1, 1, 3, 4), **spec}
    zarr.create_array(path, **layout, fill_value=0, attributes=attributes)[:] = tokens
    assert said(root) == ["tokens/m/enc/zarr.json: carries no checksum: it is damaged, or another program wrote it"]
    repair(root)
    assert verify(root) == []
    shard = next(file for file in (path / "c").rglob("*") if file.is_file())
    os.truncate(shard, shard.stat().st_size // 2)
    assert verify(root) != []


def test_presence_without_its_checksum_is_found(root: Path) -> None:
    (root / "present/m/enc/c/0").write_bytes(bytes([C, C, M]) + crc32c(bytes([C, C, C])))
    assert said(root)[0] == "m/enc segments P01_000 to P01_002 (3): presence: the chunk fails its checksum"


@pytest.mark.parametrize("kind", ["FIFO", "device", "socket"])
def test_no_file_of_a_store_is_waited_for(root: Path, kind: str) -> None:
    """A FIFO, a device or a socket in place of any file: opening and verifying name it, and end."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    assert len(files) >= 8
    for path in files:
        kept = path.read_bytes()
        path.unlink()
        if kind == "FIFO":
            os.mkfifo(path)
        elif kind == "device":
            path.symlink_to("/dev/zero")
        else:
            os.mknod(path, stat.S_IFSOCK | 0o600)
        kinds = f"{path} cannot be read: it is a {kind}, not a regular file. A store contains files and folders only: "
        for use in (FeatureStore.open, verify, repair):
            with pytest.raises(StoreError, match=re.escape(f"{kinds}remove {path}. If it replaced a file")):
                use(root)
        path.unlink()
        path.write_bytes(kept)
    FeatureStore.open(root)


def test_links_to_files_are_files_and_links_to_themselves_are_named(root: Path) -> None:
    data = root / "segments.parquet"
    data.rename(root.parent / "elsewhere")
    data.symlink_to(root.parent / "elsewhere")
    assert verify(root) == []
    data.unlink()
    data.symlink_to(data.name)
    with pytest.raises(StoreError, match=r"segments\.parquet cannot be read: it is a link that leads to itself"):
        FeatureStore.open(root)
