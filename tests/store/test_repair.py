import dataclasses
import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr

from mmcache.extract.config import ExtractConfig
from mmcache.extract.pipeline import NoProgress, run_extract
from mmcache.extract.plan import make_plan
from mmcache.store import FeatureStore, Presence, StoreError
from mmcache.store.atomic import remove_leftovers
from mmcache.store.create import create_store
from mmcache.store.fingerprint import Fingerprint
from mmcache.store.hdf5 import export_hdf5
from mmcache.store.layout import StoreMeta, read_meta, write_group
from mmcache.store.lock import writer_lock
from mmcache.store.logits import LogitsCache
from mmcache.store.npy_folder import export_npy
from mmcache.store.reduce import reduce_store
from mmcache.store.repair import Repair, repair
from mmcache.store.reports import REPORTS, finish_reports
from mmcache.store.sealed import SPARE, spare_of
from mmcache.store.shard_file import read_index, shard_path
from mmcache.store.source import TokenSource, silent, write_source
from mmcache.store.token_array import TokenArray
from mmcache.store.verify import verify

Tree = Callable[[Path], dict[str, bytes]]
C, M, F, T = Presence.CACHED, Presence.MISSING, Presence.FAILED, Presence.TO_DO
N, VIEWS, TOKENS, WIDTH, ROWS = 7, 2, 3, 4, 3  # rows in all, and of a shard
STATUS = np.array([C, F, C, M, C, F, C], np.uint8)
TASKS = {"verb": 3, "noun": 4}
KINDS = ("tokens", "scale", "present", "length", "error")  # what is kept of a token set, in shards and chunks
N_FLIPS, N_AT_ONCE = 200, 12


# Work that makes a store, or does again what is to do.


@pytest.fixture(scope="module")
def work(make_segments: Callable[[int], pd.DataFrame], make_meta: Callable[[pd.DataFrame], StoreMeta]) -> Callable:
    """Two token sets, one of them int8 with lengths and two views, and a teacher's answers; as an import does it."""
    rng = np.random.default_rng(0)
    tokens = {name: rng.standard_normal((N, VIEWS, TOKENS, WIDTH)).astype(np.float16) for name in ("a", "q")}
    lengths = rng.integers(1, TOKENS + 1, (N, VIEWS)).astype(np.int32)
    answers = {task: rng.standard_normal((N, VIEWS, 3, classes)) for task, classes in TASKS.items()}
    segments = make_segments(N)
    ids = segments["id"].tolist()

    def source(name: str) -> TokenSource:
        return TokenSource(
            modality=name,
            fingerprint=Fingerprint("enc", "random:0", "0" * 64, {}, None, 1),
            shape=(VIEWS, TOKENS, WIDTH),
            dtype="int8" if name == "q" else "float16",
            variable_length=name == "q",
            status=STATUS,
            read=lambda row: (tokens[name][row], lengths[row] if name == "q" else None),
            ids=ids,
            reasons={segment: f"bad file {segment}" for segment in ids},
        )

    def run(root: Path) -> None:
        with writer_lock(root):
            if not root.exists():
                create_store(root, segments, make_meta(segments))
            remove_leftovers(root)
            for name, row_bytes in (("a", VIEWS * TOKENS * WIDTH * 2), ("q", VIEWS * TOKENS * WIDTH)):
                write_source(root, source(name), ROWS * row_bytes, silent)
            finish_reports(root)
            cache = LogitsCache(root, "karmma-0a1b", N, VIEWS, 3, TASKS, {"modalities": ["a", "q"]})
            for rows in cache.missing_blocks():
                cache.write_block(rows, {task: block[rows.start : rows.stop] for task, block in answers.items()})

    return run


@pytest.fixture(scope="module")
def sound(work: Callable[[Path], None], make_folder: Callable[[], Path]) -> Path:
    """What `work` makes; read only."""
    root = make_folder() / "toy.zarr"
    work(root)
    assert verify(root) == []
    return root


@pytest.fixture
def root(sound: Path, make_folder: Callable[[], Path]) -> Path:
    """A copy of `sound` to damage."""
    return Path(shutil.copytree(sound, make_folder() / "toy.zarr"))


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


# Damage.


def flip(file: Path, place: int, bit: int) -> None:
    data = bytearray(file.read_bytes())
    data[place] ^= 1 << bit
    file.write_bytes(data)


def zero(file: Path) -> None:
    file.write_bytes(bytes(file.stat().st_size))


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def delete(file: Path) -> None:
    file.unlink()


UNSEEN = {("present", "deleted")}  # what a killed run may leave
HARM = {"zeroed": zero, "truncated": truncate, "deleted": delete}


def places(root: Path, n: int, seed: int) -> Iterator[tuple[str, int, int]]:
    """(file, byte, bit): half drawn uniformly over all bytes, half over files and then over the file's bytes."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    ends = np.cumsum([path.stat().st_size for path in files])
    rng = np.random.default_rng(seed)
    for i in range(n):
        if i % 2:
            byte = int(rng.integers(ends[-1]))
            file = int(np.searchsorted(ends, byte, side="right"))
            byte -= int(ends[file - 1]) if file else 0
        else:
            file = int(rng.integers(len(files)))
            byte = int(rng.integers(files[file].stat().st_size))
        yield str(files[file].relative_to(root)), byte, int(rng.integers(8))


def apart(root: Path, n: int, seed: int) -> list[tuple[str, int, int]]:
    """Places of which no two are in one file, or in a file and its spare copy."""
    chosen: dict[str, tuple[str, int, int]] = {}
    for place in places(root, 20 * n, seed):
        chosen.setdefault(place[0].removeprefix(f"{SPARE}/").removesuffix(".copy"), place)
    return list(chosen.values())[:n]


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


def check_found(root: Path, sound: Path, name: str, byte: int) -> None:
    """What verify says of a store with one flipped byte: what was hit, and which segments it is about."""
    findings = verify(root)
    parts = Path(name).parts
    if parts[0] in KINDS and "c" in parts[1:]:
        found = [finding for finding in findings if finding.where == "/".join(parts[1:3])]
        assert {segment for finding in found for segment in finding.segments} == concerned(sound, name, byte)
    elif parts[0] == "logits" and "c" in parts:
        (finding,) = findings
        assert (finding.where, finding.file) == ("/".join(parts[:3]), name)
        assert finding.segments == tuple(FeatureStore.open(sound).segments["id"])  # seven are one chunk
    else:
        assert name in {finding.where for finding in findings}


def flip_one_at_a_time(root: Path, sound: Path, n: int, seed: int) -> set[str]:
    """Flip a byte, have it found, put it back, n times; which files were hit."""
    hit = set()
    for name, byte, bit in places(sound, n, seed):
        flip(root / name, byte, bit)
        check_found(root, sound, name, byte)
        shutil.copy(sound / name, root / name)
        hit.add(name)
    assert verify(root) == []
    return hit


def metadata(root: Path) -> list[str]:
    """Everything that has a spare copy."""
    spares = (root / SPARE).rglob("*.copy")
    return sorted(str(path.relative_to(root / SPARE)).removesuffix(".copy") for path in spares)


def marked(repaired: Repair) -> int:
    return sum(repaired.to_do.values())


def to_do(root: Path) -> int:
    store = FeatureStore.open(root)
    return sum(int((store.present[modality] == T).sum()) for modality in store.modalities)


# Flipped bytes of a real extract.


def test_every_flipped_byte_of_an_extracted_store_is_found_and_its_segments_named(
    epic_store: Path, make_folder: Callable[[], Path]
) -> None:
    copy = Path(shutil.copytree(epic_store, make_folder() / "epic.zarr"))
    hit = flip_one_at_a_time(copy, epic_store, N_FLIPS, seed=0)
    for part in ("tokens/rgb/swin3d_demo/c", "tokens/audio/ast_demo/c", "present/imu/imu_demo/c", SPARE, "segments"):
        assert any(name.startswith(part) for name in hit), part


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2])
def test_repair_and_the_same_extract_undo_many_flipped_bytes(
    extracted: Path, epic_root: Path, make_folder: Callable[[], Path], tree: Tree, seed: int
) -> None:
    copy = Path(shutil.copytree(extracted, make_folder() / "epic.zarr"))
    damaged = apart(extracted, N_AT_ONCE, seed)
    assert {Path(name).parts[0] for name, _, _ in damaged} >= {"tokens", "present", SPARE}
    for place in damaged:
        flip(copy / place[0], *place[1:])
    repaired = repair(copy)
    assert repaired.left == []
    assert 3 <= marked(repaired) <= 20  # of 48: what was not hit is not done again
    assert verify(copy) == []
    assert to_do(copy) == to_do(extracted) + marked(repaired)
    extract(epic_root, copy)
    assert tree(copy) == tree(extracted)
    assert verify(copy) == []


# The same with lengths, two views, int8 tokens with their scales, failures and a teacher's answers.


def test_every_flipped_byte_of_a_store_with_everything_is_found_and_its_segments_named(sound: Path, root: Path) -> None:
    hit = flip_one_at_a_time(root, sound, N_FLIPS, seed=0)
    for kind in KINDS:
        assert any(name.startswith(f"{kind}/q/enc/c/") for name in hit), kind
    assert {"failures.jsonl", "segments.parquet"} <= hit
    assert any(name.startswith("logits/karmma-0a1b/noun/c/") for name in hit)


def test_each_flipped_byte_is_undone_by_repair_and_the_same_work(
    sound: Path, make_folder: Callable[[], Path], work: Callable[[Path], None], tree: Tree
) -> None:
    whole = tree(sound)
    for name, byte, bit in places(sound, 40, seed=1):
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


@pytest.mark.parametrize("seed", range(7))
def test_many_flipped_bytes_are_undone_by_repair_and_the_same_work(
    sound: Path, root: Path, work: Callable[[Path], None], tree: Tree, seed: int
) -> None:
    for place in apart(sound, N_AT_ONCE, seed):
        flip(root / place[0], *place[1:])
    assert repair(root).left == []
    work(root)
    assert tree(root) == tree(sound)
    assert verify(root) == []


@pytest.mark.parametrize(("kind", "harm"), [case for case in itertools.product(KINDS, HARM) if case not in UNSEEN])
@pytest.mark.parametrize("shard", range(3))
def test_each_shard_and_chunk_is_done_again(
    root: Path, sound: Path, work: Callable[[Path], None], tree: Tree, kind: str, shard: int, harm: str
) -> None:
    (file,) = (path for path in (root / kind / "q/enc/c" / str(shard)).parent.rglob("*") if is_of(path, shard, kind))
    HARM[harm](file)
    before = tree(root)
    assert verify(root) != []
    repaired = repair(root)
    assert repaired.left == []
    assert set(repaired.to_do) <= {"q/enc"}
    assert marked(repaired) <= ROWS
    changed = {name for name, data in tree(root).items() if before.get(name) != data}
    assert all(name.split("/")[1] == "q" for name in changed if name.split("/")[0] in KINDS), changed
    work(root)
    assert tree(root) == tree(sound)


def is_of(path: Path, shard: int, kind: str) -> bool:
    """Whether this is the file of a shard of an array of that kind."""
    parts = path.parts
    return path.is_file() and parts[parts.index(kind) + 4] == str(shard)


def test_presence_is_made_anew_from_chunks_and_failures_without_doing_anything_again(root: Path, tree: Tree) -> None:
    """Of the second shard: row 3 is missing, which leaves no trace, and so is the only one to be done again."""
    sound = tree(root)
    flip(root / "present/a/enc/c/1", 0, 0)
    repaired = repair(root)
    assert repaired.left == []
    assert FeatureStore.open(root).present["a"].tolist() == [C, F, C, T, C, F, C]
    assert {name for name, data in tree(root).items() if data != sound[name]} == {"present/a/enc/c/1"}


def test_damaged_answers_of_a_teacher_are_removed_and_computed_again(
    root: Path, sound: Path, work: Callable[[Path], None], tree: Tree
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


def test_a_sound_store_is_not_touched(root: Path, tree: Tree) -> None:
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in root.rglob("*")}
    assert repair(root) == Repair([], [], {})
    assert {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in root.rglob("*")} == before
    assert [path.name for path in root.parent.iterdir()] == ["toy.zarr"]  # neither lock nor leftovers


def test_what_a_repair_could_do_it_does_at_once(root: Path, tree: Tree) -> None:
    for place in apart(root, N_AT_ONCE, seed=0):
        flip(root / place[0], *place[1:])
    assert repair(root).found != []
    before = tree(root)
    assert repair(root) == Repair([], [], {})
    assert tree(root) == before


def test_a_store_that_is_being_written_is_not_repaired(root: Path, tree: Tree) -> None:
    zero(root / "zarr.json")
    hold = "import sys; from pathlib import Path; from mmcache.store.lock import writer_lock\n"
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


# Metadata and their spare copies.


@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize("copy", ["the file", "the spare copy"])
def test_each_metadata_file_is_restored_from_its_other_copy(root: Path, tree: Tree, copy: str, harm: str) -> None:
    whole = tree(root)
    names = [name for name in metadata(root) if name not in REPORTS]
    assert len(names) >= 20
    for name in names:
        file = root / name if copy == "the file" else spare_of(root, name)
        HARM[harm](file)
        repaired = repair(root)
        assert str(file.relative_to(root)) in {finding.where for finding in repaired.found}, name
        assert (repaired.left, repaired.to_do) == ([], {}), name
        assert tree(root) == whole, name


@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize("copy", ["the file", "the spare copy"])
def test_failures_are_restored_from_their_other_copy(
    root: Path, work: Callable[[Path], None], tree: Tree, copy: str, harm: str
) -> None:
    whole = tree(root)
    file = root / "failures.jsonl" if copy == "the file" else spare_of(root, "failures.jsonl")
    HARM[harm](file)
    assert str(file.relative_to(root)) in {finding.where for finding in verify(root)}
    assert repair(root).left == []
    work(root)
    assert tree(root) == whole


def test_all_metadata_is_restored_at_once(root: Path, tree: Tree) -> None:
    whole = tree(root)
    for name in metadata(root):
        zero(root / name)
    assert repair(root).left == []
    assert tree(root) == whole
    for name, harm in zip(metadata(root), itertools.cycle(HARM.values()), strict=False):
        harm(spare_of(root, name))
    assert repair(root).left == []
    assert tree(root) == whole


# Findings that stay.


@pytest.mark.parametrize("harm", ["zeroed", "truncated"])
def test_where_both_copies_are_damaged_the_finding_stays_and_nothing_else_is_harmed(
    sound: Path, make_folder: Callable[[], Path], tree: Tree, harm: str
) -> None:
    names = [name for name in metadata(sound) if name not in REPORTS]
    assert len(names) >= 20
    for name in names:
        root = Path(shutil.copytree(sound, make_folder() / "toy.zarr"))
        HARM[harm](root / name)
        HARM[harm](spare_of(root, name))
        before = tree(root)
        repaired = repair(root)
        assert name in {finding.where for finding in repaired.left}, name
        assert repaired.to_do == {}, name
        assert tree(root) == before, name
        shutil.rmtree(root.parent)


def test_a_report_of_which_both_copies_are_damaged_goes_and_its_segments_are_done_again(
    root: Path, sound: Path, work: Callable[[Path], None], tree: Tree
) -> None:
    zero(root / "failures.jsonl")
    zero(spare_of(root, "failures.jsonl"))
    repaired = repair(root)
    assert (repaired.left, repaired.to_do) == ([], {"a/enc": 2, "q/enc": 2})
    work(root)
    assert tree(root) == tree(sound)


# What is not ours to mend.


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


# Killed at any moment.


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


def test_a_lost_shard_is_never_taken_for_zeros(root: Path, make_folder: Callable[[], Path]) -> None:
    """What reads tokens in order to write them elsewhere needs them all."""
    (root / "tokens/q/enc/c/0/0/0/0").unlink()
    for write in (
        lambda: reduce_store(root, 1, ["q"]),
        lambda: export_hdf5(FeatureStore.open(root), make_folder() / "x.h5"),
        lambda: export_npy(FeatureStore.open(root), make_folder() / "npy"),
    ):
        with pytest.raises(StoreError, match=r"lacks tokens of row .* which presence claims"):
            write()


@pytest.mark.parametrize("letter", [b'"reason": "', b'"id": "'])
def test_a_damaged_report_is_not_vouched_for_by_the_next_run(
    letter: bytes, root: Path, work: Callable[[Path], None], tree: Tree
) -> None:
    """Else its spare copy would be taken for the damaged one."""
    before = tree(root)
    path = root / "failures.jsonl"
    raw = bytearray(path.read_bytes())
    raw[raw.index(letter) + len(letter)] ^= 1
    path.write_bytes(raw)
    with pytest.raises(StoreError, match=r"failures\.jsonl cannot be read .*verify --repair"):
        finish_reports(root)
    repair(root)
    work(root)
    assert tree(root) == before


def test_what_is_refused_keeps_its_temporary_files_too(tmp_path: Path) -> None:
    zarr.create_group(tmp_path / "other")
    theirs = tmp_path / "other/.tmp-1-theirs"
    theirs.touch()
    with pytest.raises(StoreError):
        repair(tmp_path / "other")
    assert theirs.exists()


def test_presence_whose_metadata_was_altered_is_not_believed(root: Path) -> None:
    """With a fill value of 1, whatever is to do would read as cached."""
    document = root / "present/q/enc/zarr.json"
    document.write_text(document.read_text().replace('"fill_value": 3', '"fill_value": 1'))
    with pytest.raises(StoreError, match=r"present/q/enc/zarr\.json is damaged"):
        FeatureStore.open(root).present["q"]


def test_answers_that_lost_all_of_their_metadata_are_found(root: Path) -> None:
    (document,) = root.glob("logits/*/verb/zarr.json")
    name = str(document.relative_to(root))
    document.unlink()
    spare_of(root, name).unlink()
    assert f"{name}: is missing, and there is no spare copy of it" in [str(finding) for finding in verify(root)]
