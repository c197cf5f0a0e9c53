"""Run a writer again and again, each time killed (SIGKILL) one file operation later, then run it once more.

    python kill_everywhere.py SCENARIO FOLDER [STRIDE]

FOLDER/undisturbed/toy.zarr is what a run makes that nobody kills; FOLDER/<n>/toy.zarr what a run killed just before
its n-th file operation left, after the same run was started again, for every STRIDE-th n. One JSON line a kill goes to
stdout:

    operation     what the run was killed before
    unreadable    why the store did not open right after the kill, or which tokens read wrong
    unsound       what `verify` said of it then
    rerun         what the second run raised

In the scenario `repair`, the store is a damaged one, which `repair` is killed in; the second run is `repair` again and
then the work that made the store. FOLDER/sound/toy.zarr is the store before it was damaged.

Processes are forked from this one, which starts no threads.
"""

import dataclasses
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.dataset  # noqa: F401 - pandas imports it late, in every forked process anew
from numpy.typing import NDArray

from mmcache.store.feature_store import FeatureStore
from mmcache.store.files.atomic import remove_leftovers
from mmcache.store.files.sealed import spare_of
from mmcache.store.format.fingerprint import Fingerprint
from mmcache.store.format.layout import Presence, StoreMeta
from mmcache.store.format.reports import finish_reports
from mmcache.store.format.teacher_logits import LogitsCache
from mmcache.store.ground.lock import writer_lock
from mmcache.store.manage.repair import repair
from mmcache.store.manage.verify import verify
from mmcache.store.write.add_tokens import add_tokens
from mmcache.store.write.create import create_store
from mmcache.store.write.shard_commit import ShardCommit

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


def _settle_rows(root: Path, modality: str, rows: range, dtype: str = "float16") -> None:
    writer = add_tokens(
        root,
        modality,
        Fingerprint("enc", "random:0", "0" * 64, {}, None, 1),
        TOKENS,
        WIDTH,
        dtype=dtype,
        shard_bytes=(2 if modality == "audio" else N_ROWS) * ROW_BYTES,
        variable_length=modality == "audio",
    )
    to_do = [row for row in rows if writer.presence()[row] == Presence.TO_DO]
    for shard in writer.grid.shards_of(np.array(to_do, np.int64)).tolist():
        commit = ShardCommit(writer, shard)
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


def extract_all(root: Path) -> None:
    """As `extract`, with int8 tokens and a teacher's answers besides."""
    extract(root)
    with writer_lock(root):
        _settle_rows(root, "imu", range(N_ROWS), "int8")
        finish_reports(root)
        attributes = {"modalities": ["audio", "rgb"], "subsets": ["audio", "rgb", "audio+rgb"]}
        cache = LogitsCache(root, "karmma-0a1b", N_ROWS, 1, 3, {"verb": 2}, attributes)
        for rows in cache.missing_blocks():
            cache.write_block(rows, {"verb": np.ones((len(rows), 1, 3, 2), np.float16)})


def damage(root: Path) -> None:
    """One byte of a file of each kind."""
    hit = ["zarr.json", "tokens/rgb/enc/zarr.json", "present/zarr.json", "present/audio/enc/c/0"]
    hit += ["length/audio/enc/c/1/0", "tokens/rgb/enc/c/0/0/0/0", "scale/imu/enc/c/0/0/0/0", "failures.jsonl"]
    hit += ["logits/karmma-0a1b/verb/c/0/0/0/0", str(spare_of(root, "segments.parquet").relative_to(root))]
    for name in hit:
        data = bytearray((root / name).read_bytes())
        data[-1 if name.startswith("scale") else 3] ^= 4  # of the scales, their index
        (root / name).write_bytes(data)


def repair_and_extract(root: Path) -> None:
    repair(root)
    extract_all(root)


def unreadable(root: Path) -> list[str]:
    """What a reader finds: cached tokens and lengths, which must be the right ones."""
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


def after_kill(root: Path, scenario: "Scenario") -> dict[str, list[str]]:
    """Look at what a killed run left, and run it again."""
    look = scenario.look and root.exists()
    return {
        "unreadable": said_by(lambda: unreadable(root) if look else []),
        "unsound": said_by(lambda: [str(finding) for finding in verify(root)] if look else []),
        "rerun": said_by(lambda: scenario.again(root)),
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


@dataclasses.dataclass(frozen=True)
class Scenario:
    """What is killed, and what is run after that.

    Attributes:
        prepare: (FOLDER, root of a store) -> makes what `run` starts from.
        look: whether a killed run must have left a sound store.
    """

    run: Callable[[Path], Any]
    again: Callable[[Path], Any]
    prepare: Callable[[Path, Path], Any] = lambda base, root: root.parent.mkdir()
    look: bool = True


def copy_damaged(base: Path, root: Path) -> None:
    if not (base / "sound").exists():
        in_child(lambda: extract_all(base / "sound" / "toy.zarr") or "done")
    shutil.copytree(base / "sound", root.parent)
    damage(root)


SCENARIOS = {
    "extract": Scenario(extract, extract),
    "repair": Scenario(repair, repair_and_extract, copy_damaged, look=False),
}


def main(name: str, base: Path, stride: int) -> None:
    scenario = SCENARIOS[name]
    undisturbed = base / "undisturbed" / "toy.zarr"
    scenario.prepare(base, undisturbed)
    assert in_child(lambda: (scenario.run(undisturbed), scenario.again(undisturbed)) and "done") == "done"
    for n in range(0, 10_000, stride):
        folder = base / str(n)
        root = folder / "toy.zarr"
        scenario.prepare(base, root)
        if in_child(partial(kill_before, n, folder, partial(scenario.run, root))) == "not killed":
            break
        operation = (base / "operation.txt").read_text().replace(str(folder), "")
        seen = in_child(partial(after_kill, root, scenario))
        print(json.dumps({"n": n, "operation": operation, **seen}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 1)
