"""What a sweep saves: 24 trials on the demo store in one command, against separate `mmcache fuse` commands.

The separate commands are run one after another, as a script would, each with all cores. `--separate` runs one for each
strategy and counts it as often as the sweep has it. `--shared` measures the memory of two
workers with and without tokens in shared memory, on a store of 2,000 segments, 3 modalities, T = 100 and D = 384.

    make bench-sweep
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
from harness import record

STRATEGIES = ("dropout", "moddrop", "mmt", "karmma")
DROPS, SEEDS = (0.3, 0.5), (0, 1, 2)
TRIALS = len(STRATEGIES) * len(DROPS) * len(SEEDS)


def command(*arguments: object) -> float:
    """Seconds of a command line."""
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", "from mmcache.cli.main import main; main()", *map(str, arguments)],
        check=True,
        capture_output=True,
    )
    return time.perf_counter() - began


def sweep_seconds(store: Path, out: Path, options: tuple[object, ...], pack: str) -> float:
    names, seeds = ",".join(STRATEGIES), ",".join(map(str, SEEDS))
    axis = "drop=" + ",".join(map(str, DROPS))
    return command(
        "sweep", "--strategies", names, "--seeds", seeds, "--axis", axis, "--store", store, "--out", out,
        "--recipe", "published", "--pack", pack, *options,
    )  # fmt: skip


def separate_seconds(store: Path, out: Path, options: tuple[object, ...]) -> dict[str, float]:
    """One command for each strategy, times how often the sweep has them: as typed, and with teachers given.

    As typed, each `mmcache fuse --strategy karmma` trains a teacher; a careful script trains one a seed and gives it.
    """

    def run(strategy: str, *more: object) -> float:
        seconds = command("fuse", "--strategy", strategy, "--store", store, *options, *more)
        print(f"  one `mmcache fuse --strategy {strategy}`: {seconds:.1f} s", flush=True)
        return seconds

    drop = ("--drop", DROPS[0])
    each = {name: run(name, "--out", out / name, *drop) for name in STRATEGIES}
    teacher = run("karmma-teacher", "--out", out / "teacher")
    given = run("karmma", "--out", out / "given", *drop, "--teacher", out / "teacher")
    times = len(DROPS) * len(SEEDS)
    without = times * sum(seconds for name, seconds in each.items() if name != "karmma")
    return {
        "separate_s": without + times * each["karmma"],
        "separate_given_teachers_s": without + times * given + len(SEEDS) * teacher,
    }


def write_wide_store(path: Path, segments: int = 2000, tokens: int = 100, width: int = 384) -> None:
    from mmcache.store.format.fingerprint import Fingerprint
    from mmcache.store.format.layout import StoreMeta
    from mmcache.store.write.add_tokens import add_tokens
    from mmcache.store.write.create import create_store
    from mmcache.store.write.shard_commit import ShardCommit

    rows = np.arange(segments)
    table = pd.DataFrame(
        {
            "id": [f"s{row:05}" for row in rows],
            "video": [f"v{row // 20:04}" for row in rows],
            "start_s": rows * 1.0,
            "stop_s": rows + 0.5,
            "split": np.where(rows % 4 == 3, "test", "train"),
            "class": rows % 8,
        }
    )
    meta = StoreMeta("wide", {"class": [f"c{i}" for i in range(8)]}, {"train": 1500, "test": 500}, "test")
    create_store(path, table, meta)
    random = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        writer = add_tokens(path, name, Fingerprint("made", "random:0", "", {}, None, 1), tokens, width)
        values = random.standard_normal((segments, 1, tokens, width), dtype=np.float32).astype(np.float16)
        for shard in range(writer.grid.n_shards):
            commit = ShardCommit(writer, shard)
            for row in writer.grid.rows(shard):
                commit.put(row, values[row])
            commit.commit()


class Watch:
    """The most proportional memory that all workers had together, sampled while a block runs."""

    def __enter__(self) -> "Watch":
        self.bytes = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(0.3):
            total = 0
            for child in psutil.Process().children(recursive=True):
                try:
                    if "ray::" in " ".join(child.cmdline()):
                        total += child.memory_full_info().pss
                except psutil.Error:
                    continue
            self.bytes = max(self.bytes, total)


def shared_rows(folder: Path) -> list[dict[str, Any]]:
    from mmcache.fuse.sweep import sweep
    from mmcache.fuse.sweep.spec import make_spec

    store = folder / "wide.zarr"
    write_wide_store(store)
    fuse = {"epochs": 1, "width": 32, "heads": 4, "k": 100, "device": "cpu"}
    content = {
        "strategies": ["skip", "dropout"],
        "seeds": [0, 1],
        "recipe": "published",
        "stores": [store],
        "fuse": fuse,
    }
    rows, put = [], sweep.put_tokens
    for shared in (True, False):
        sweep.put_tokens = put if shared else lambda ray, wanted: {}
        began = time.perf_counter()
        with Watch() as watch:
            board = sweep.run_sweep(sweep.plan_sweep(make_spec(content, "bench"), folder / f"shared-{shared}"))
        assert all(standing.state == "finished" for standing in board.standings.values())
        rows.append(
            {
                "name": f"4 trials in 2 workers, tokens {'in shared memory' if shared else 'in each worker'}",
                "seconds": time.perf_counter() - began,
                "workers_pss_gb": watch.bytes / 1e9,
                "tokens_gb": 2000 * 3 * 100 * 384 * 2 / 1e9,
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    sweep.put_tokens = put
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--store", type=Path, default=Path("demo/cache/epic.zarr"), help="of `mmcache demo`")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--k", type=int, default=24, help="tokens a modality; 24 is what the demo trains on")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument("--pack", default="auto")
    parser.add_argument("--separate", action="store_true", help="measure separate commands too, on a sample")
    parser.add_argument("--shared", action="store_true", help="measure shared memory instead")
    arguments = parser.parse_args()
    if not (arguments.store / "zarr.json").exists() and not arguments.shared:
        parser.error(f"no store at {arguments.store}: `make bench-sweep` makes it, and so does `mmcache demo`")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.shared:
            rows = shared_rows(folder)
        else:
            given = {"epochs": arguments.epochs, "k": arguments.k, "precision": arguments.precision, "device": "cpu"}
            options = tuple(word for name, value in given.items() for word in (f"--{name}", value))
            seconds = sweep_seconds(arguments.store, folder / "sweep", options, arguments.pack)
            row: dict[str, Any] = {"name": f"{TRIALS} trials, one sweep", "pack": arguments.pack, "seconds": seconds}
            print(f"one sweep of {TRIALS} trials and 3 teachers, k = {arguments.k}: {seconds:.1f} s", flush=True)
            if arguments.separate:
                apart = separate_seconds(arguments.store, folder / "apart", options)
                faster = {name.replace("_s", "_times"): value / seconds for name, value in apart.items()}
                row |= {**apart, **faster}
                print(
                    "separate commands, from one of each:",
                    ", ".join(f"{n} {v:.2f}" for n, v in row.items() if n in {**apart, **faster}),
                )
            rows = [{**row, **given, "load": psutil.getloadavg()[0]}]
    print(f"Rows: {record('sweep', rows)}")


if __name__ == "__main__":
    main()
