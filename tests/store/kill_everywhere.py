"""Run a writer again and again, each time killed (SIGKILL) one file operation later, then run it once more.

    python kill_everywhere.py SCENARIO FOLDER

FOLDER/undisturbed/toy.zarr is what a run makes that nobody kills; FOLDER/<n>/toy.zarr what a run killed just before
its n-th file operation left, after the same run was started again. One JSON line a kill goes to stdout:

    operation     what the run was killed before
    unreadable    why the store did not open right after the kill, or which tokens read wrong
    unsound       what `verify` said of it then
    rerun         what the second run raised

Processes are forked from this one, which starts no threads.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow.dataset  # noqa: F401 - pandas imports it late, in every forked process anew
from numpy.typing import NDArray

from mmcache.store.atomic import remove_leftovers
from mmcache.store.create import create_store
from mmcache.store.feature_store import FeatureStore
from mmcache.store.fingerprint import Fingerprint
from mmcache.store.hdf5 import import_hdf5
from mmcache.store.layout import Presence, StoreMeta
from mmcache.store.lock import writer_lock
from mmcache.store.reports import finish_reports
from mmcache.store.verify import verify
from mmcache.store.writer import add_tokens

N_ROWS, TOKENS, WIDTH = 4, 3, 2
ROW_BYTES = TOKENS * WIDTH * 2
SEGMENTS = pd.DataFrame(
    {
        "id": [f"P01_{row:03}" for row in range(N_ROWS)],
        "video": "V0",
        "start_s": np.arange(N_ROWS) * 2.0,
        "stop_s": np.arange(N_ROWS) * 2.0 + 1,
        "split": "train",
        "verb": np.arange(N_ROWS) % 2,
    }
)
META = StoreMeta("toy", {"verb": ["take", "cut"]}, {"train": N_ROWS}, "train")
PRESENCE = [Presence.CACHED, Presence.FAILED, Presence.CACHED, Presence.MISSING]
LENGTHS = [[1], [0], [3], [0]]


def tokens_of(row: int) -> NDArray[np.float16]:
    return np.full((1, TOKENS, WIDTH), row + 0.5, np.float16)


def extract(root: Path) -> None:
    """What `mmcache extract` does to a store: audio of two shards, and rgb in two goes over one shard."""
    with writer_lock(root):
        if not root.exists():
            create_store(root, SEGMENTS, META)
        remove_leftovers(root)
        for modality, rows in (("audio", range(N_ROWS)), ("rgb", range(0, N_ROWS, 2)), ("rgb", range(N_ROWS))):
            _settle_rows(root, modality, rows)
        finish_reports(root)


def _settle_rows(root: Path, modality: str, rows: range) -> None:
    writer = add_tokens(
        root,
        modality,
        Fingerprint("enc", "random:0", "0" * 64, {}, None, 1),
        TOKENS,
        WIDTH,
        shard_bytes=(2 if modality == "audio" else N_ROWS) * ROW_BYTES,
        variable_length=modality == "audio",
    )
    to_do = [row for row in rows if writer.presence()[row] == Presence.TO_DO]
    for shard in writer.grid.shards_of(np.array(to_do, np.int64)).tolist():
        commit = writer.shard(shard)
        for row in (row for row in to_do if row in writer.grid.rows(shard)):
            if PRESENCE[row] == Presence.CACHED:
                commit.put(row, tokens_of(row), np.array(LENGTHS[row]) if modality == "audio" else None)
                commit.report(SEGMENTS["id"][row], Presence.CACHED, "one frame mended")
            elif PRESENCE[row] == Presence.FAILED:
                commit.failed(row)
                commit.report(SEGMENTS["id"][row], Presence.FAILED, "bad file")
            else:
                commit.missing(row)
        commit.commit()


def import_(root: Path) -> None:
    """What `mmcache store import` does."""
    import_hdf5(root.parent.parent / "features.h5", root, shard_bytes=2 * ROW_BYTES)


def write_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["features/audio"] = np.concatenate([tokens_of(row) for row in range(N_ROWS)])
        file["present/audio"] = np.array([status == Presence.CACHED for status in PRESENCE], np.uint8)
        file["lengths/audio"] = np.array(LENGTHS)[:, 0]
        file["labels/verb"] = SEGMENTS["verb"].to_numpy()
        file["ids"] = SEGMENTS["id"].tolist()
        file["split"] = SEGMENTS["split"].tolist()


def unreadable(root: Path) -> list[str]:
    """What a reader finds: no store, or one whose cached tokens and lengths are the right ones."""
    if not root.exists():
        return []
    wrong = []
    store = FeatureStore.open(root)
    for modality in store.modalities:
        for row in np.flatnonzero(store.present[modality] == Presence.CACHED).tolist():
            if not np.array_equal(store.tokens[modality].read(np.array([row])), tokens_of(row)):
                wrong.append(f"{modality} row {row} reads other tokens")
            lengths = store.lengths[modality]
            if lengths is not None and lengths[row].tolist() != LENGTHS[row]:
                wrong.append(f"{modality} row {row} has other lengths")
    return wrong


def after_kill(root: Path, run: Callable[[Path], None]) -> dict[str, list[str]]:
    """Look at what a killed run left, and run it again."""
    return {
        "unreadable": said_by(lambda: unreadable(root)),
        "unsound": said_by(lambda: [str(finding) for finding in verify(root)] if root.exists() else []),
        "rerun": said_by(lambda: run(root)),
    }


def said_by(work: Callable[[], list[str] | None]) -> list[str]:
    try:
        return work() or []
    except Exception as error:
        return [f"{type(error).__name__}: {error}"]


def in_child(work: Callable[[], Any]) -> Any:
    """What `work` returns when it runs in a forked process, or None when that was killed."""
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            os.write(writer, json.dumps(work()).encode())
        finally:
            os._exit(1)
    os.close(writer)
    with open(reader, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(process, 0)
    assert answer or os.WIFSIGNALED(status), "the child failed; see its traceback above"
    return json.loads(answer) if answer else None


def kill_before(n: int, folder: Path, work: Callable[[], None]) -> str:
    """Run `work`, and kill this process just before its n-th opening, renaming or removing of a file in `folder`."""
    count = 0

    def watch(event: str, arguments: tuple) -> None:
        nonlocal count
        to_write = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if to_write and not str(arguments[0]).startswith(str(folder)):
            return
        if to_write or event in ("os.rename", "os.remove", "os.rmdir"):
            if count == n:
                (folder.parent / "operation.txt").write_text(f"{event} {arguments[0]}")
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1

    sys.addaudithook(watch)
    work()
    return "not killed"


def main(scenario: str, base: Path) -> None:
    run = {"extract": extract, "import": import_}[scenario]
    write_hdf5(base / "features.h5")
    (base / "undisturbed").mkdir()
    assert in_child(lambda: run(base / "undisturbed" / "toy.zarr") or "done") == "done"
    for n in range(10_000):
        folder = base / str(n)
        folder.mkdir()
        root = folder / "toy.zarr"
        if in_child(partial(kill_before, n, folder, partial(run, root))) == "not killed":
            break
        operation = (base / "operation.txt").read_text().replace(str(folder), "")
        print(json.dumps({"n": n, "operation": operation, **in_child(partial(after_kill, root, run))}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
