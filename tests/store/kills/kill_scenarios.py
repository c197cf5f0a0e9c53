"""As kill_everywhere.py, for what makes one store of others: imports, reduce, merge; and for exports.

    python kill_scenarios.py SCENARIO FOLDER [STRIDE]

FOLDER/undisturbed/out is what a run makes that nobody kills; FOLDER/<n>/out what a run killed just before its n-th file
operation left, after the same run was started again; with a stride, every STRIDE-th n. One JSON line a kill goes to
stdout:

    operation     what the run was killed before
    unsound       what `verify` said of the store right after the kill, or why it did not open
    rerun         what the second run raised
"""

import json
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from kill_everywhere import in_child, kill_before, said_by  # beside this file, as scripts have it
from numpy.typing import NDArray

from mmcache.store.exchange.hdf5_export import export_hdf5
from mmcache.store.exchange.hdf5_import import import_hdf5
from mmcache.store.exchange.npy_export import export_npy
from mmcache.store.exchange.npy_import import import_npy
from mmcache.store.feature_store import FeatureStore
from mmcache.store.format.fingerprint import Fingerprint
from mmcache.store.format.layout import Presence, StoreMeta
from mmcache.store.format.reports import finish_reports
from mmcache.store.ground.lock import writer_lock
from mmcache.store.manage.merge import merge_stores
from mmcache.store.manage.reduce import reduce_store
from mmcache.store.manage.verify import verify
from mmcache.store.write.create import create_store
from mmcache.store.write.token_source import TokenSource, no_progress, write_source

N, VIEWS, TOKENS, WIDTH, ROWS = 6, 2, 3, 2, 2  # rows in all, and of a shard
VIEW_BYTES = TOKENS * WIDTH * 2
C, M, F, T = Presence.CACHED, Presence.MISSING, Presence.FAILED, Presence.TO_DO
STATUS = {"a": [C, F, C, C, M, C], "q": [C, C, C, M, C, F]}
IDS = [f"P01_{row:03}" for row in range(N)]
SEGMENTS = pd.DataFrame(
    {
        "id": IDS,
        "video": "V0",
        "start_s": np.arange(N) * 2.0,
        "stop_s": np.arange(N) * 2.0 + 1,
        "split": "train",
        "verb": np.arange(N) % 2,
    }
)
META = StoreMeta("toy", {"verb": ["take", "cut"]}, {"train": N}, "")


def drawn(modality: str, row: int) -> tuple[NDArray[np.float16], NDArray[np.int32]]:
    """(V, T, D) tokens and (V,) lengths."""
    rng = np.random.default_rng((ord(modality), row))
    lengths = rng.integers(1, TOKENS + 1, VIEWS).astype(np.int32)
    tokens = rng.standard_normal((VIEWS, TOKENS, WIDTH)).astype(np.float16)
    tokens[np.arange(TOKENS) >= lengths[:, None]] = 0
    return tokens, lengths


def make(root: Path, presence: dict[str, list[int]]) -> None:
    """A store of all segments that has some of them: `a` of varying lengths, `q` as int8."""
    with writer_lock(root):
        create_store(root, SEGMENTS, META)
        for modality, status in presence.items():
            source = TokenSource(
                modality=modality,
                fingerprint=Fingerprint("enc", "random:0", "0" * 64, {}, None, 1),
                shape=(VIEWS, TOKENS, WIDTH),
                dtype="int8" if modality == "q" else "float16",
                variable_length=modality == "a",
                status=np.array(status, np.uint8),
                read=lambda row, m=modality: (drawn(m, row)[0], drawn(m, row)[1] if m == "a" else None),
                ids=IDS,
                reasons={segment: f"bad file {segment}" for segment in IDS},
            )
            write_source(root, source, ROWS * VIEWS * VIEW_BYTES // (2 if modality == "q" else 1), no_progress)
        finish_reports(root)


def only(modality: str, rows: range) -> list[int]:
    return [value if row in rows else T for row, value in enumerate(STATUS[modality])]


def prepare(base: Path) -> None:
    """FOLDER/store; parts of it that share a shard of `a`; and two exports, one of them with a damaged file."""
    make(base / "store", STATUS)
    make(base / "part0", {"a": only("a", range(3))})
    make(base / "part1", {"a": only("a", range(3, N)), "q": STATUS["q"]})
    export_hdf5(FeatureStore.open(base / "store"), base / "features.h5")
    export_npy(FeatureStore.open(base / "store"), base / "features")
    (base / "features" / "a" / f"{IDS[1]}.npy").write_bytes(b"no array")


# What is killed: (FOLDER, what it writes) -> None. A reduce writes to a store that is there.

VIEW_SHARD = ROWS * VIEW_BYTES
SCENARIOS: dict[str, Callable[[Path, Path], object]] = {
    "import-hdf5": lambda base, out: import_hdf5(base / "features.h5", out, VIEW_SHARD),
    "import-npy": lambda base, out: import_npy(base / "features", out, VIEW_SHARD),
    "reduce-k": lambda base, out: reduce_store(out, 2, shard_bytes=VIEWS * VIEW_SHARD),
    "reduce-int8": lambda base, out: reduce_store(out, dtype="int8", shard_bytes=VIEWS * VIEW_SHARD // 2),
    "merge": lambda base, out: merge_stores([base / "part0", base / "part1"], out),
    "export-npy": lambda base, out: export_npy(FeatureStore.open(base / "store"), out),
}


def start(name: str, base: Path, folder: Path) -> Path:
    """A folder for one run; what the run writes to."""
    folder.mkdir()
    if name.startswith("reduce"):
        shutil.copytree(base / "store", folder / "out")
    return folder / "out"


def after_kill(name: str, base: Path, out: Path) -> dict[str, list[str]]:
    """Look at what a killed run left, and run it again."""
    is_export = name.startswith("export")
    unsound = [] if is_export or not out.exists() else said_by(lambda: [str(finding) for finding in verify(out)])
    if is_export and out.exists():
        return {"unsound": unsound, "rerun": []}  # whole, or it would not be there
    return {"unsound": unsound, "rerun": said_by(lambda: SCENARIOS[name](base, out) and None)}


def main(name: str, base: Path, stride: int) -> None:
    assert in_child(lambda: prepare(base) or "done") == "done"
    undisturbed = start(name, base, base / "undisturbed")
    assert in_child(lambda: (SCENARIOS[name](base, undisturbed), "done")[1]) == "done"
    for n in range(0, 10_000, stride):
        out = start(name, base, base / str(n))
        if in_child(partial(kill_before, n, out.parent, partial(SCENARIOS[name], base, out))) == "not killed":
            break
        operation = (base / "operation.txt").read_text().replace(str(out.parent), "")
        seen = in_child(partial(after_kill, name, base, out))
        print(json.dumps({"n": n, "operation": operation, **seen}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 1)
