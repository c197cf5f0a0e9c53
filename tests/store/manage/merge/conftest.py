"""Parts of a store, each with some segments or modalities, to be merged."""

import dataclasses
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from mmcache.store import FeatureStore, Presence, StoreMeta
from mmcache.store.format.fingerprint import Fingerprint
from mmcache.store.format.reports import finish_reports
from mmcache.store.ground.lock import writer_lock
from mmcache.store.write.add_tokens import add_tokens
from mmcache.store.write.create import create_store
from mmcache.store.write.shard_commit import ShardCommit

C, M, F, T = Presence.CACHED, Presence.MISSING, Presence.FAILED, Presence.TO_DO
N = 7  # segments of a part that is not told other ones


@dataclasses.dataclass(frozen=True)
class Kind:
    """How a modality of these tests is stored."""

    views: int
    tokens: int
    width: int
    dtype: str
    has_lengths: bool


KINDS = {
    "audio": Kind(2, 3, 2, "int8", True),
    "imu": Kind(1, 2, 3, "float32", True),
    "rgb": Kind(1, 2, 4, "float16", False),
}


def drawn(modality: str, segment: str, salt: str) -> tuple[NDArray[np.float32], NDArray[np.int32] | None]:
    """Tokens (V, T, D) and lengths (V,), which depend on their segment and on who extracted them."""
    kind = KINDS[modality]
    rng = np.random.default_rng(zlib.crc32(f"{salt}/{modality}/{segment}".encode()))
    tokens = rng.standard_normal((kind.views, kind.tokens, kind.width)).astype(np.float32)
    lengths = rng.integers(1, kind.tokens + 1, kind.views).astype(np.int32)
    return tokens, lengths if kind.has_lengths else None


def settle(
    root: Path,
    modality: str,
    status: Sequence[int],
    fingerprint: Fingerprint,
    rows_per_shard: int = 2,
    salt: str = "",
) -> None:
    """Do what is to do of one modality, as extract does: failures have a reason, missing and odd rows a note."""
    kind, segments = KINDS[modality], FeatureStore.open(root).segments
    writer = add_tokens(
        root,
        modality,
        fingerprint,
        kind.tokens,
        kind.width,
        views=kind.views,
        dtype=kind.dtype,
        shard_bytes=rows_per_shard * kind.views * kind.tokens * kind.width * np.dtype(kind.dtype).itemsize,
        variable_length=kind.has_lengths,
    )
    wanted = (np.array(status) != writer.presence()) & (np.array(status) != T)
    for shard in writer.grid.shards_of(np.flatnonzero(wanted)).tolist():
        commit = ShardCommit(writer, shard)
        for row in (row for row in writer.grid.rows(shard) if wanted[row]):
            segment = segments["id"][row]
            if status[row] == C:
                commit.put(row, *drawn(modality, segment, salt))
                if row % 2:
                    commit.report(segment, C, f"{salt}: one frame mended")
            elif status[row] == F:
                commit.failed(row)
                commit.report(segment, F, f"{salt}: bad file of {segment}")
            else:
                commit.missing(row)
                commit.report(segment, M, f"{salt}: no such stream")
        commit.commit()


@pytest.fixture(scope="session")
def make_part(
    make_folder: Callable[[], Path],
    make_segments: Callable[[int], pd.DataFrame],
    make_meta: Callable[[pd.DataFrame], StoreMeta],
    fingerprint: Fingerprint,
) -> Callable[..., Path]:
    """A store of some segments (default: all N) with modality -> presence; what else there is goes to `settle`."""

    def make(
        presence: Mapping[str, Sequence[int]],
        segments: pd.DataFrame | None = None,
        root: Path | None = None,
        meta: Mapping[str, Any] | None = None,
        **how: Any,
    ) -> Path:
        root = root or make_folder() / "part.zarr"
        table = make_segments(N) if segments is None else segments
        with writer_lock(root):
            if not root.exists():
                create_store(root, table, dataclasses.replace(make_meta(table), **(meta or {})))
            for modality, status in presence.items():
                settle(root, modality, status, **{"fingerprint": fingerprint, **how})
            finish_reports(root)
        return root

    return make


def _only(status: Sequence[int], rows: Sequence[int]) -> list[int]:
    """The presence of a part that has only these rows; the others are to do."""
    return [value if row in rows else T for row, value in enumerate(status)]


STATUS = {"audio": [C, F, C, M, C, C, C], "imu": [M, C, C, C, F, C, C], "rgb": [C, C, C, F, C, T, C]}
DIVISIONS: dict[str, list[dict[str, list[int]]]] = {
    "blocks of rows": [{m: _only(s, rows) for m, s in STATUS.items()} for rows in ((0, 1, 2, 3), (4, 5, 6))],
    "rows in turn": [{m: _only(s, range(part, N, 3)) for m, s in STATUS.items()} for part in range(3)],
    "modalities": [{m: s} for m, s in STATUS.items()],
    "splits": [{m: _only(s, rows) for m, s in STATUS.items()} for rows in ((0, 1, 2, 4, 5, 6), (3,))],
    "rows of one, modalities of the others": [
        {"audio": _only(STATUS["audio"], range(4))},
        {"audio": _only(STATUS["audio"], range(4, N)), "imu": STATUS["imu"]},
        {"rgb": STATUS["rgb"]},
    ],
    "one part": [STATUS],
}


@pytest.fixture(scope="session")
def only() -> Callable[[Sequence[int], Sequence[int]], list[int]]:
    """Cuts a presence down to that of a part which has only some rows; the others are to do."""
    return _only


@pytest.fixture(scope="session")
def status() -> dict[str, list[int]]:
    """modality -> presence, of one run that does everything."""
    return STATUS


@pytest.fixture(scope="session")
def divisions() -> dict[str, list[dict[str, list[int]]]]:
    """Ways to divide `status` among parts."""
    return DIVISIONS


@pytest.fixture(params=DIVISIONS)
def division(request: pytest.FixtureRequest) -> list[dict[str, list[int]]]:
    """One of them after the other."""
    return DIVISIONS[request.param]


@pytest.fixture(scope="session")
def in_one_go(make_part: Callable[..., Path]) -> Path:
    """The store that this run makes; read only."""
    return make_part(STATUS)


@pytest.fixture(scope="session")
def kinds() -> dict[str, Kind]:
    """modality -> how it is stored; what a test changes here, `make_part` follows."""
    return KINDS


@pytest.fixture(scope="session")
def n_segments() -> int:
    """Of a part that is not told other ones."""
    return N


@pytest.fixture(scope="session")
def assert_same_row() -> Callable[..., None]:
    """That a row of one store and a row of another hold the same tokens of a modality, and what belongs to them."""

    def check(one: FeatureStore, row: int, other: FeatureStore, there: int, modality: str) -> None:
        ours, theirs = one.tokens[modality], other.tokens[modality]
        for view in range(KINDS[modality].views):
            np.testing.assert_array_equal(ours.read(np.array([row]), view), theirs.read(np.array([there]), view))
            if ours.scale is not None and theirs.scale is not None:
                scales = [array.scale.read(np.array([i]), view) for array, i in ((ours, row), (theirs, there))]
                np.testing.assert_array_equal(*scales)
        for kind in ("lengths", "errors"):
            mine, its = (getattr(store, kind)[modality] for store in (one, other))
            assert (mine is None) == (its is None)
            if mine is not None:
                np.testing.assert_array_equal(mine[row], its[there])

    return check
