"""Flipped bytes: each is found and its segments are named; repair and the same work undo them."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mmcache.extract.planning.extract_config import ExtractConfig
from mmcache.extract.planning.plan import make_plan
from mmcache.extract.run.pipeline import NoProgress, run_extract
from mmcache.store import FeatureStore, Presence
from mmcache.store.files.sealed import SPARE
from mmcache.store.format.shard_file import read_index, shard_path
from mmcache.store.manage.repair import repair
from mmcache.store.manage.verify import verify
from mmcache.store.read.token_array import TokenArray

Tree = Callable[[Path], dict[str, bytes]]
Work = Callable[[Path], None]
Flip = Callable[[Path, int, int], None]
Place = tuple[str, int, int]  # file, byte, bit
C, T = Presence.CACHED, Presence.TO_DO
FLIPS = pytest.mark.parametrize("flips", [60, pytest.param(400, marks=pytest.mark.slow)])


def extract(data: Path, store: Path) -> None:
    """Three videos; one segment at a time, as how many are encoded at once shows in some tokens' last bits."""
    encoders = {"rgb": "swin3d_demo", "audio": "ast_demo", "imu": "imu_demo"}
    options = {"splits": ["validation", "test"], "batch_size": 4, "shard_mb": 0.1}
    config = ExtractConfig("epic", data, store=store, encoder=encoders, weights="random", **options)
    run_extract(make_plan(config), NoProgress())


@pytest.fixture(scope="module")
def extracted(epic_root: Path, make_folder: Callable[[], Path]) -> Path:
    """A store of a real extract; read only."""
    store = make_folder() / "epic.zarr"
    extract(epic_root, store)
    assert verify(store) == []
    return store


def concerned(root: Path, name: str, byte: int) -> set[str]:
    """The ids of the segments that a byte of a chunk or shard of a sound store tells of."""
    kind, modality, encoder, _, number = Path(name).parts[:5]
    array = TokenArray(root, modality, encoder)
    store = FeatureStore.open(root)
    rows = array.grid.rows(int(number))
    ids = store.segments["id"].tolist()
    if kind == "present":
        return {ids[row] for row in rows}
    cached = [row for row in rows if store.present[array.name][row] == C]
    if kind in ("tokens", "scale"):
        index = read_index(shard_path(root / kind / array.name, int(number)), array.grid.slots_per_shard)
        assert index is not None
        for slot, (offset, size) in enumerate(index.tolist()):
            if offset <= byte < offset + size:
                return {ids[rows.start + slot // array.grid.n_views]}
    return {ids[row] for row in cached}


def check_found(root: Path, sound: Path, name: str, byte: int, kinds: tuple[str, ...]) -> None:
    """What verify says of a store with one flipped byte: what was hit, and which segments it is about."""
    findings = verify(root)
    parts = Path(name).parts
    if parts[0] in kinds and "c" in parts[1:]:
        found = [finding for finding in findings if finding.where == "/".join(parts[1:3])]
        assert {segment for finding in found for segment in finding.segments} == concerned(sound, name, byte)
    elif parts[0] == "logits" and "c" in parts:
        (finding,) = findings
        assert (finding.where, finding.file) == ("/".join(parts[:3]), name)
        assert finding.segments == tuple(FeatureStore.open(sound).segments["id"])  # seven are one chunk
    else:
        assert name in {finding.where for finding in findings}


@pytest.fixture
def flip_one_at_a_time(
    flip: Flip, places: Callable[..., Iterator[Place]], kinds: tuple[str, ...]
) -> Callable[..., set[str]]:
    """Flip a byte of a copy, have it found, put it back, many times; which files were hit."""

    def run(root: Path, sound: Path, flips: int, seed: int) -> set[str]:
        hit = set()
        for name, byte, bit in places(sound, flips, seed):
            flip(root / name, byte, bit)
            check_found(root, sound, name, byte, kinds)
            shutil.copy(sound / name, root / name)
            hit.add(name)
        assert verify(root) == []
        return hit

    return run


def to_do(root: Path) -> int:
    store = FeatureStore.open(root)
    return sum(int((store.present[modality] == T).sum()) for modality in store.modalities)


@FLIPS
def test_every_flipped_byte_of_an_extracted_store_is_found_and_its_segments_named(
    flips: int,
    epic_store: Path,
    make_folder: Callable[[], Path],
    flip_one_at_a_time: Callable[..., set[str]],
) -> None:
    copy = Path(shutil.copytree(epic_store, make_folder() / "epic.zarr"))
    hit = flip_one_at_a_time(copy, epic_store, flips, seed=0)
    for part in ("tokens/rgb/swin3d_demo/c", "tokens/audio/ast_demo/c", "present/imu/imu_demo/c", SPARE, "segments"):
        assert any(name.startswith(part) for name in hit), part


@FLIPS
def test_every_flipped_byte_of_a_store_with_everything_is_found_and_its_segments_named(
    flips: int,
    sound: Path,
    root: Path,
    kinds: tuple[str, ...],
    flip_one_at_a_time: Callable[..., set[str]],
) -> None:
    hit = flip_one_at_a_time(root, sound, flips, seed=2)
    for kind in kinds:
        assert any(name.startswith(f"{kind}/q/enc/c/") for name in hit), kind
    assert {"failures.jsonl", "segments.parquet"} <= hit
    assert any(name.startswith("logits/karmma-0a1b/noun/c/") for name in hit)


@pytest.mark.parametrize("flips", [12, pytest.param(80, marks=pytest.mark.slow)])
def test_each_flipped_byte_is_undone_by_repair_and_the_same_work(
    flips: int,
    sound: Path,
    make_folder: Callable[[], Path],
    work: Work,
    tree: Tree,
    flip: Flip,
    places: Callable[..., Iterator[Place]],
    metadata: Callable[[Path], list[str]],
) -> None:
    whole = tree(sound)
    for name, byte, bit in places(sound, flips, seed=1):
        root = Path(shutil.copytree(sound, make_folder() / "toy.zarr"))
        flip(root / name, byte, bit)
        repaired = repair(root)
        assert repaired.found != []
        assert repaired.left == verify(root) == [], (name, byte)
        if name in whole and (name.startswith(SPARE) or name in metadata(sound)):
            assert tree(root) == whole, (name, byte)  # metadata is restored at once
        work(root)
        assert tree(root) == whole, (name, byte)
        shutil.rmtree(root.parent)


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 7))])
def test_many_flipped_bytes_are_undone_by_repair_and_the_same_work(
    sound: Path, root: Path, work: Work, tree: Tree, seed: int, flip: Flip, apart: Callable[[Path, int], list[Place]]
) -> None:
    for place in apart(sound, seed):
        flip(root / place[0], *place[1:])
    assert repair(root).left == []
    work(root)
    assert tree(root) == tree(sound)
    assert verify(root) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2])
def test_repair_and_the_same_extract_undo_many_flipped_bytes(
    extracted: Path,
    epic_root: Path,
    make_folder: Callable[[], Path],
    tree: Tree,
    seed: int,
    flip: Flip,
    apart: Callable[[Path, int], list[Place]],
) -> None:
    copy = Path(shutil.copytree(extracted, make_folder() / "epic.zarr"))
    damaged = apart(extracted, seed)
    assert {Path(name).parts[0] for name, _, _ in damaged} >= {"tokens", "present", SPARE}
    for place in damaged:
        flip(copy / place[0], *place[1:])
    repaired = repair(copy)
    assert repaired.left == []
    assert 3 <= sum(repaired.to_do.values()) <= 20  # of 48: what was not hit is not done again
    assert verify(copy) == []
    assert to_do(copy) == to_do(extracted) + sum(repaired.to_do.values())
    extract(epic_root, copy)
    assert tree(copy) == tree(extracted)
    assert verify(copy) == []
