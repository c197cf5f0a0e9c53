"""Small stores, made in milliseconds, for the tests of the store.

The factories have session scope, so that Hypothesis tests may call them for every example.
"""

import itertools
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from mmcache.store.format.fingerprint import Fingerprint
from mmcache.store.format.layout import Presence, StoreMeta
from mmcache.store.format.reports import finish_reports
from mmcache.store.write.add_tokens import add_tokens
from mmcache.store.write.create import create_store
from mmcache.store.write.shard_commit import ShardCommit
from mmcache.store.write.token_writer import TokenWriter

MEMORY = Path("/dev/shm")
MakeSegments = Callable[[int], pd.DataFrame]
MakeMeta = Callable[[pd.DataFrame], StoreMeta]
TASKS = {"verb": ["take", "cut", "wash"], "noun": ["cup", "pan", "box", "knife"]}


@pytest.fixture(scope="session")
def make_folder() -> Iterator[Callable[[], Path]]:
    """New empty folders, in memory where the system has such: the store syncs every file it writes."""
    base = Path(tempfile.mkdtemp(prefix="mmcache-tests-", dir=MEMORY if MEMORY.is_dir() else None))
    numbers = itertools.count()

    def make() -> Path:
        folder = base / str(next(numbers))
        folder.mkdir()
        return folder

    yield make
    shutil.rmtree(base)


@pytest.fixture(scope="session")
def fingerprint() -> Fingerprint:
    """Of an encoder named 'enc'."""
    return Fingerprint("enc", "random:0", "0" * 64, {"frames": 16, "size": [8, 8]}, None, 1)


@pytest.fixture(scope="session")
def make_segments() -> Callable[[int], pd.DataFrame]:
    """n segments: every fourth one for validation, some without a noun, an extra column of text."""

    def make(n: int) -> pd.DataFrame:
        rows = np.arange(n)
        return pd.DataFrame(
            {
                "id": [f"P01_{row:03}" for row in rows],
                "video": [f"V{row // 4}" for row in rows],
                "start_s": rows * 2.0,
                "stop_s": rows * 2.0 + 1.5,
                "split": np.where(rows % 4 == 3, "validation", "train"),
                "verb": rows % 3,
                "noun": rows % 5 - 1,
                "narration": [f"take cup {row}" for row in rows],
            }
        )

    return make


@pytest.fixture(scope="session")
def make_meta() -> Callable[[pd.DataFrame], StoreMeta]:
    """The root attributes that fit some segments."""

    def make(segments: pd.DataFrame) -> StoreMeta:
        splits = {str(split): int(n) for split, n in sorted(segments["split"].value_counts().items())}
        return StoreMeta("toy", TASKS, splits, "validation", recommended={"k": 2})

    return make


def fill(
    writer: TokenWriter,
    tokens: NDArray[np.floating],
    presence: NDArray[np.integer] | None = None,
    lengths: NDArray[np.integer] | None = None,
) -> None:
    """Commit every shard: tokens (N, V, T, D), presence (N,) with TO_DO rows left alone, lengths (N, V)."""
    status = np.full(len(tokens), Presence.CACHED) if presence is None else presence
    for shard in range(writer.grid.n_shards):
        commit = ShardCommit(writer, shard)
        for row in writer.grid.rows(shard):
            if status[row] == Presence.CACHED:
                commit.put(row, tokens[row], None if lengths is None else lengths[row])
            elif status[row] == Presence.MISSING:
                commit.missing(row)
            elif status[row] == Presence.FAILED:
                commit.failed(row)
                commit.report(f"P01_{row:03}", Presence.FAILED, "bad file")
        commit.commit()


@pytest.fixture(scope="session")
def fill_tokens() -> Callable[..., None]:
    """Commits every shard of a TokenWriter."""
    return fill


@pytest.fixture(scope="session")
def make_store(
    make_folder: Callable[[], Path],
    make_segments: Callable[[int], pd.DataFrame],
    make_meta: Callable[[pd.DataFrame], StoreMeta],
    fingerprint: Fingerprint,
) -> Callable[..., Path]:
    """Writes a store of given tokens, in a folder of its own.

    Names are as `rgb` (encoder 'enc') or `rgb/swin`; `rows_per_shard` and what follows may be left out.
    """

    def make(
        tokens: Mapping[str, NDArray[np.floating]],
        rows_per_shard: int = 2,
        presence: Mapping[str, NDArray[np.integer]] | None = None,
        lengths: Mapping[str, NDArray[np.integer]] | None = None,
        segments: pd.DataFrame | None = None,
    ) -> Path:
        root = make_folder() / "toy.zarr"
        n = len(next(iter(tokens.values())))
        table = make_segments(n) if segments is None else segments
        create_store(root, table, make_meta(table))
        for name, values in tokens.items():
            modality, _, encoder = name.partition("/")
            made_by = Fingerprint(**{**vars(fingerprint), "encoder": encoder or fingerprint.encoder})
            _, views, length, width = values.shape
            true_lengths = (lengths or {}).get(name)
            writer = add_tokens(
                root,
                modality,
                made_by,
                length,
                width,
                views=views,
                dtype=values.dtype.name,
                shard_bytes=rows_per_shard * values[0].nbytes,
                variable_length=true_lengths is not None,
            )
            fill(writer, values, (presence or {}).get(name), true_lengths)
        finish_reports(root)
        return root

    return make


@pytest.fixture(scope="session")
def random_tokens() -> Callable[..., NDArray[np.floating]]:
    """Tokens of a shape (N, V, T, D), never zero, the same for the same seed."""

    def make(*shape: int, dtype: str = "float16", seed: int = 0) -> NDArray[np.floating]:
        return (1 + np.random.default_rng(seed).random(shape)).astype(dtype)

    return make


@pytest.fixture(scope="session")
def tree() -> Callable[[Path], dict[str, bytes]]:
    """Every file below a folder: its path there -> its bytes."""

    def read(folder: Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
        }

    return read


@pytest.fixture(scope="session")
def kill_everywhere(make_folder: Callable[[], Path]) -> Callable[..., tuple[Path, list[dict]]]:
    """Runs a scenario of kill_everywhere.py; its folder, and one record for each kill."""

    def run(scenario: str, stride: int = 1) -> tuple[Path, list[dict]]:
        folder = make_folder()
        script = Path(__file__).parent / "kills" / "kill_everywhere.py"
        command = [sys.executable, str(script), scenario, str(folder), str(stride)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return folder, [json.loads(line) for line in done.stdout.splitlines()]

    return run


@pytest.fixture
def empty_store(tmp_path: Path, make_segments: MakeSegments, make_meta: MakeMeta) -> Path:
    """Five segments, no tokens."""
    root = tmp_path / "toy.zarr"
    create_store(root, make_segments(5), make_meta(make_segments(5)))
    return root


@pytest.fixture
def writer(empty_store: Path, fingerprint: Fingerprint) -> TokenWriter:
    """Of m/enc in the empty store, (5, 1, 2, 3) in shards of two rows."""
    return add_tokens(empty_store, "m", fingerprint, 2, 3, shard_bytes=2 * 12)


@pytest.fixture(scope="session")
def settle() -> Callable[..., None]:
    """Commits rows of `writer`: row -> presence; what FAILED gets a report."""

    def commit_rows(writer: TokenWriter, statuses: dict[int, Presence], reason: str = "bad file") -> None:
        for shard in writer.grid.shards_of(np.array(list(statuses))).tolist():
            commit = ShardCommit(writer, shard)
            for row in sorted(set(statuses) & set(writer.grid.rows(shard))):
                if statuses[row] == Presence.CACHED:
                    commit.put(row, np.full((1, 2, 3), 1 + row, np.float16))
                elif statuses[row] == Presence.MISSING:
                    commit.missing(row)
                else:
                    commit.failed(row)
                    commit.report(f"P01_{row:03}", Presence.FAILED, reason)
            commit.commit()

    return commit_rows
