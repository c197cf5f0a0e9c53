"""A small store with everything, the work that makes it, and ways to damage it."""

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmcache.store import Presence
from mmcache.store.files.atomic import remove_leftovers
from mmcache.store.files.sealed import SPARE
from mmcache.store.format.fingerprint import Fingerprint
from mmcache.store.format.layout import StoreMeta
from mmcache.store.format.reports import finish_reports
from mmcache.store.format.teacher_logits import LogitsCache
from mmcache.store.ground.lock import writer_lock
from mmcache.store.manage.verify import verify
from mmcache.store.write.create import create_store
from mmcache.store.write.token_source import TokenSource, no_progress, write_source

Place = tuple[str, int, int]  # file, byte, bit
C, M, F, T = Presence.CACHED, Presence.MISSING, Presence.FAILED, Presence.TO_DO
N, VIEWS, TOKENS, WIDTH, ROWS = 7, 2, 3, 4, 3  # rows in all, and of a shard
STATUS = np.array([C, F, C, M, C, F, C], np.uint8)
TASKS = {"verb": 3, "noun": 4}
KINDS = ("tokens", "scale", "present", "length", "error")  # what is kept of a token set, in shards and chunks
N_AT_ONCE = 12


@pytest.fixture(scope="session")
def work(
    make_segments: Callable[[int], pd.DataFrame], make_meta: Callable[[pd.DataFrame], StoreMeta]
) -> Callable[[Path], None]:
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
                write_source(root, source(name), ROWS * row_bytes, no_progress)
            finish_reports(root)
            cache = LogitsCache(
                root, "karmma-0a1b", N, VIEWS, 3, TASKS, {"modalities": ["a", "q"], "subsets": ["a", "q", "a+q"]}
            )
            for rows in cache.missing_blocks():
                cache.write_block(rows, {task: block[rows.start : rows.stop] for task, block in answers.items()})

    return run


@pytest.fixture(scope="session")
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


def zero(file: Path) -> None:
    file.write_bytes(bytes(file.stat().st_size))


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def delete(file: Path) -> None:
    file.unlink()


HARMS = {"zeroed": zero, "truncated": truncate, "deleted": delete}
UNSEEN = {("present", "deleted")}  # what a killed run may leave


@pytest.fixture(scope="session")
def harms() -> dict[str, Callable[[Path], None]]:
    """Ways to damage a file, by name."""
    return HARMS


@pytest.fixture(params=HARMS)
def harm(request: pytest.FixtureRequest) -> Callable[[Path], None]:
    """Each of them, or those that a test names."""
    return HARMS[request.param]


@pytest.fixture(scope="session")
def kinds() -> tuple[str, ...]:
    """What is kept of a token set."""
    return KINDS


@pytest.fixture(params=[case for case in itertools.product(KINDS, HARMS) if case not in UNSEEN], ids="-".join)
def harmed(request: pytest.FixtureRequest) -> tuple[str, Callable[[Path], None]]:
    """Each kind of what is kept of a token set, with each way to damage it that cannot be a kill's."""
    kind, name = request.param
    return kind, HARMS[name]


@pytest.fixture(scope="session")
def flip() -> Callable[[Path, int, int], None]:
    """Flips a bit of a byte of a file."""

    def change(file: Path, place: int, bit: int) -> None:
        data = bytearray(file.read_bytes())
        data[place] ^= 1 << bit
        file.write_bytes(data)

    return change


@pytest.fixture(scope="session")
def places() -> Callable[..., Iterator[Place]]:
    """Places of a store: half drawn uniformly over all bytes, half over files and then over the file's bytes."""

    def draw(root: Path, n: int, seed: int) -> Iterator[Place]:
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

    return draw


@pytest.fixture(scope="session")
def apart(places: Callable[..., Iterator[Place]]) -> Callable[[Path, int], list[Place]]:
    """Twelve places of which no two are in one file, or in a file and its spare copy."""

    def draw(root: Path, seed: int) -> list[Place]:
        chosen: dict[str, Place] = {}
        for place in places(root, 20 * N_AT_ONCE, seed):
            chosen.setdefault(place[0].removeprefix(f"{SPARE}/").removesuffix(".copy"), place)
        return list(chosen.values())[:N_AT_ONCE]

    return draw


@pytest.fixture(scope="session")
def metadata() -> Callable[[Path], list[str]]:
    """The names of everything that has a spare copy."""

    def names(root: Path) -> list[str]:
        spares = (root / SPARE).rglob("*.copy")
        return sorted(str(path.relative_to(root / SPARE)).removesuffix(".copy") for path in spares)

    return names
