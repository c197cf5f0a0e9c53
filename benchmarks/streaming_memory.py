"""The peak memory of a streaming epoch, under a limit that the store exceeds five times.

The child process runs under /usr/bin/time -v, and in a memory cgroup where one can be made (version 1 or 2, as root);
the page cache counts towards that limit too. What the process holds without any store (Python, torch) is measured in
the same way and taken off: the rest must stay below four batches and a constant.
"""

import contextlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mmcache.store.write.shard_commit import ShardCommit

BATCH, TOKENS, WIDTH = 32, 300, 768
LIMIT_BYTES = 1_000_000_000
STORE_BYTES = 5 * LIMIT_BYTES
BATCH_BYTES = BATCH * TOKENS * WIDTH * 2
_GROUP = "mmcache-bench"

_EPOCH = """
import sys
from mmcache.store import FeatureStore
import mmcache.store.load.loader, torch
store = FeatureStore.open(sys.argv[1])
torch.zeros(4).sum()
seen = 0
for batch in store.batches("train", batch_size=int(sys.argv[2])):
    seen += len(batch.rows)
    if seen >= int(sys.argv[3]):
        break
print(seen)
"""


def measure_memory() -> dict[str, Any]:
    """One row: peak resident bytes of an epoch, of one single-segment batch, and what four batches are."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as name:
        root = Path(name) / "large.zarr"
        n = _write_store(root)
        with _limited() as join:
            idle, _ = _peak(root, 1, 1, join)
            peak, seen = _peak(root, BATCH, n, join)
    assert seen == n, f"the epoch saw {seen} of {n} segments"
    over = peak - idle
    limited = "" if join else " (no cgroup could be made here: not limited)"
    text = (
        f"streaming epoch over {STORE_BYTES / 1e9:.1f} GB under a limit of {LIMIT_BYTES / 1e9:.1f} GB{limited}:\n"
        f"  peak {peak / 1e6:.0f} MB, {over / 1e6:.0f} MB more than for a single segment; "
        f"four batches are {4 * BATCH_BYTES / 1e6:.0f} MB"
    )
    return {
        "part": "memory",
        "store_bytes": STORE_BYTES,
        "limit_bytes": LIMIT_BYTES if join else None,
        "peak_bytes": peak,
        "idle_bytes": idle,
        "batch_bytes": BATCH_BYTES,
        "over_idle_in_batches": over / BATCH_BYTES,
        "text": text,
    }


def _write_store(root: Path) -> int:
    """A store of STORE_BYTES, written without ever holding it; how many segments it has."""
    from bench_store import empty_store

    n = STORE_BYTES // (TOKENS * WIDTH * 2)
    writer = empty_store(root, np.broadcast_to(np.float16(0), (n, TOKENS, WIDTH)))
    values = np.random.default_rng(0).standard_normal((8, 1, TOKENS, WIDTH), dtype=np.float32).astype(np.float16)
    for shard in range(writer.grid.n_shards):
        commit = ShardCommit(writer, shard)
        for row in commit.rows:
            commit.put(row, values[row % len(values)])
        commit.commit()
    return n


def _peak(root: Path, batch: int, segments: int, join: list[Path]) -> tuple[int, int]:
    """(Maximum resident set size in bytes, segments seen) of a child process."""

    def enter() -> None:
        for file in join:
            file.write_text(str(os.getpid()))

    command = ["/usr/bin/time", "-v", sys.executable, "-c", _EPOCH, str(root), str(batch), str(segments)]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=enter)
    assert done.returncode == 0, done.stderr
    found = re.search(r"Maximum resident set size \(kbytes\): (\d+)", done.stderr)
    assert found is not None, done.stderr
    return int(found[1]) * 1024, int(done.stdout.split()[-1])


@contextlib.contextmanager
def _limited() -> Iterator[list[Path]]:
    """A memory cgroup; the files a process writes its number into to be in it. Empty where none can be made."""
    version_1 = Path("/sys/fs/cgroup/memory") / _GROUP, "memory.limit_in_bytes"
    version_2 = Path("/sys/fs/cgroup") / _GROUP, "memory.max"
    for group, limit in (version_1, version_2):
        try:
            group.mkdir()
            (group / limit).write_text(str(LIMIT_BYTES))
        except OSError:
            with contextlib.suppress(OSError):
                group.rmdir()
            continue
        try:
            yield [group / "cgroup.procs"]
        finally:
            group.rmdir()
        return
    yield []
