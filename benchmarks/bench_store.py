"""The store against other libraries and against what memory and disk can do, all in one run.

Reading   random batches of one and the same float16 tokens (N, T, D) into the same kind of buffer, in the same order.
          Warm: the files are in the page cache. Cold: they are evicted before each pass.
Batches   an epoch of store.batches (labels, presence, tensors) against the bare reader.
Writing   shards through TokenWriter against a plain file write and fsync of the same bytes.
Memory    the peak of a streaming epoch over a store five times larger than the memory it may use.

Everything is measured in turns, round after round, so that what else a machine does hits all alike; figures are
medians over the rounds, and shares are taken round by round.

    make bench-store                      # 0.7 GB at T = 300, and the same at T = 100
    python benchmarks/bench_store.py --gb 0.2 --peers "ours;tensorstore" --parts reading
"""

import argparse
import gc
import os
import shutil
import tempfile
import warnings
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
from harness import REPEATS, record
from peers import PEERS, STORE, THREADS, Reader, gather, raw_preadv, write_raw
from streaming_memory import measure_memory

from mmcache.store import FeatureStore, StoreMeta
from mmcache.store.format.fingerprint import Fingerprint
from mmcache.store.format.reports import finish_reports
from mmcache.store.load.loader import Loader
from mmcache.store.write.add_tokens import add_tokens
from mmcache.store.write.create import create_store
from mmcache.store.write.shard_commit import ShardCommit
from mmcache.store.write.token_writer import TokenWriter

BATCH, WIDTH = 32, 768
GATHER, GATHER_MANY = "in-RAM gather", f"in-RAM gather, {THREADS} threads"
RAW, RAW_MANY = "raw preadv", f"raw preadv, {THREADS} threads"
PARTS = ("reading", "batches", "writing", "memory")


def make_store(root: Path, tokens: np.ndarray, dtype: str = "float16") -> None:
    """Write (N, T, D) tokens as a store with shards of 128 MiB."""
    write_shards(empty_store(root, tokens, dtype), tokens)
    finish_reports(root)


def empty_store(root: Path, tokens: np.ndarray, dtype: str = "float16") -> TokenWriter:
    n, length, width = tokens.shape
    segments = pd.DataFrame({"id": [f"s{i}" for i in range(n)], "video": "v", "start_s": 0.0, "stop_s": 1.0})
    segments = segments.assign(split="train", label=np.arange(n) % 10)
    create_store(root, segments, StoreMeta("bench", {"label": [str(c) for c in range(10)]}, {"train": n}, "train"))
    return add_tokens(root, "rgb", Fingerprint("bench", "random:0", "", {}, None, 1), length, width, dtype=dtype)


def write_shards(writer: TokenWriter, tokens: np.ndarray) -> None:
    for shard in range(writer.grid.n_shards):
        commit = ShardCommit(writer, shard)
        for row in commit.rows:
            commit.put(row, tokens[row : row + 1])
        commit.commit()


def evict(folder: Path) -> None:
    """Drop a folder's files from the page cache; nothing may have them mapped."""
    gc.collect()
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def rate_of(reader: Reader, batches: np.ndarray, out: np.ndarray) -> float:
    """GB/s of one pass."""
    began = perf_counter()
    for rows in batches:
        reader(rows, out)
    return len(batches) * out.nbytes / (perf_counter() - began) / 1e9


def check(reader: Reader, tokens: np.ndarray, rows: np.ndarray, out: np.ndarray) -> None:
    """A reader that reads something else is not measured."""
    out[:] = 0
    reader(rows, out)
    np.testing.assert_array_equal(out.view(np.uint16), tokens[rows].view(np.uint16))


def reading(folder: Path, tokens: np.ndarray, order: np.ndarray, names: list[str], state: str) -> list[dict[str, Any]]:
    """Rates of all readers and ceilings, one row each."""
    out = np.empty((BATCH, *tokens.shape[1:]), np.float16)
    size = tokens[0].nbytes
    openers: dict[str, Any] = {name: PEERS[name].open for name in names}
    openers[RAW] = lambda folder: raw_preadv(folder, size, 1)
    openers[RAW_MANY] = lambda folder: raw_preadv(folder, size, THREADS)
    if state == "warm":
        openers[GATHER] = lambda folder: gather(tokens, 1)
        openers[GATHER_MANY] = lambda folder: gather(tokens, THREADS)
    figures: dict[str, list[float]] = {name: [] for name in openers}
    for turn in range(REPEATS + 1):  # the first does not count: it fills the page cache
        for name, opener in openers.items():
            batches = order[:8] if name in PEERS and PEERS[name].slow else order
            if state == "cold":
                evict(folder)
            reader = opener(folder)
            if state == "warm":
                check(reader, tokens, batches[0], out)
            figures[name].append(rate_of(reader, batches, out))
            del reader
            if turn == 0:
                figures[name].clear()
    one, many = (GATHER, GATHER_MANY) if state == "warm" else (RAW, RAW_MANY)

    def share(name: str, ceiling: str) -> float:
        return median(a / b for a, b in zip(figures[name], figures[ceiling], strict=True))

    return [
        {"part": "reading", "name": name, "state": state, "batch": BATCH, "repeats": REPEATS}
        | {"gb_per_s": median(rates), "min": min(rates), "max": max(rates)}
        | {"of_ceiling": share(name, one), "of_threaded_ceiling": share(name, many)}
        for name, rates in figures.items()
    ]


def batches(folder: Path, tokens: np.ndarray, order: np.ndarray) -> list[dict[str, Any]]:
    """Segments a second of whole epochs, against the bare reader on the same store."""
    rows = []
    for dtype in ("float16", "int8"):
        root = folder / f"batches-{dtype}.zarr"
        make_store(root, tokens, dtype)
        store = FeatureStore.open(root)
        array = store.tokens["rgb"]
        out = np.empty((BATCH, *tokens.shape[1:]), array.dtype)
        resident = Loader(store, None, store.rows("train"), resident="ram")
        figures: dict[str, list[float]] = {"bare reader": [], "from disk": [], "from RAM": []}
        for turn in range(REPEATS + 1):
            began = perf_counter()
            for batch_rows in order:
                array.read(batch_rows, out=out)
            figures["bare reader"].append(order.size / (perf_counter() - began))
            for name in ("from disk", "from RAM"):
                epoch = (
                    store.batches("train", batch_size=BATCH, epoch=turn)
                    if name == "from disk"
                    else resident.epoch(batch_size=BATCH, seed=0, epoch=turn)
                )
                began, seen = perf_counter(), 0
                for batch in epoch:
                    seen += len(batch.labels["label"])
                figures[name].append(seen / (perf_counter() - began))
        bare = figures["bare reader"][1:]
        for name, rates in figures.items():
            shares = [a / b for a, b in zip(rates[1:], bare, strict=True)]
            rows.append(
                {"part": "batches", "name": name, "dtype": dtype, "batch": BATCH, "repeats": REPEATS}
                | {"segments_per_s": median(rates[1:]), "of_ceiling": median(shares)}
            )
    return rows


def writing(folder: Path, tokens: np.ndarray) -> list[dict[str, Any]]:
    """GB/s of shards on disk, against the same bytes into plain files; float32, as encoders give it, is converted."""
    floats = tokens[: len(tokens) // 2].astype(np.float32)
    works = {"float16": (tokens, "float16"), "float32 to float16": (floats, "float16"), "to int8": (floats, "int8")}
    rows = []
    for name, (values, dtype) in works.items():
        shares, rates = [], []
        for _ in range(REPEATS):
            root = folder / "write.zarr"
            shutil.rmtree(root, ignore_errors=True)
            writer = empty_store(root, values, dtype)
            began = perf_counter()
            write_shards(writer, values)
            ours = perf_counter() - began
            files = [file for kind in ("tokens", "scale") for file in (root / kind).rglob("c/*/0/0/0")]
            data = [file.read_bytes() for file in files]
            began = perf_counter()
            for i, raw in enumerate(data):
                with open(folder / f"plain-{i}.bin", "wb") as file:
                    file.write(raw)
                    file.flush()
                    os.fsync(file.fileno())
            plain = perf_counter() - began
            shares.append(plain / ours)
            rates.append(sum(map(len, data)) / ours / 1e9)
        rows.append(
            {"part": "writing", "name": name, "repeats": REPEATS}
            | {"gb_per_s": median(rates), "min": min(rates), "max": max(rates), "of_ceiling": median(shares)}
        )
    return rows


def run(gb: float, length: int, names: list[str], parts: list[str]) -> list[dict[str, Any]]:
    n = max(4 * BATCH, int(gb * 1e9 / (length * WIDTH * 2)))
    rng = np.random.default_rng(0)
    tokens = rng.standard_normal((n, length, WIDTH), dtype=np.float32).astype(np.float16)
    order = rng.permutation(n)[: n // BATCH * BATCH].reshape(-1, BATCH)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as name:
        folder = Path(name)
        if "reading" in parts:
            make_store(folder / STORE, tokens)
            write_raw(folder, tokens)
            for peer in names:
                PEERS[peer].prepare(folder, tokens)
            for state in ("warm", "cold"):
                rows.extend(reading(folder, tokens, order, names, state))
        if "batches" in parts:
            rows.extend(batches(folder, tokens, order))
        if "writing" in parts:
            rows.extend(writing(folder, tokens))
    return [{**row, "segments": n, "tokens": length, "width": WIDTH} for row in rows]


def show(rows: list[dict[str, Any]]) -> None:
    for state in ("warm", "cold"):
        chosen = [row for row in rows if row.get("state") == state]
        if chosen:
            ceiling = GATHER if state == "warm" else RAW
            print(f"\n  {state:>28}   GB/s   of {ceiling} (of the same on {THREADS} threads)")
        for row in sorted(chosen, key=lambda row: -row["gb_per_s"]):
            shares = f"{row['of_ceiling']:6.3f} ({row['of_threaded_ceiling']:.3f})"
            print(f"  {row['name']:>28} {row['gb_per_s']:6.2f}   {shares}")
    for part, unit in (("batches", "segments_per_s"), ("writing", "gb_per_s")):
        chosen = [row for row in rows if row["part"] == part]
        if chosen:
            print(f"\n  {part:>28}   {unit}, share of {'the bare reader' if part == 'batches' else 'a plain file'}")
        for row in chosen:
            name = f"{row['name']}{' ' + row['dtype'] if 'dtype' in row else ''}"
            print(f"  {name:>28} {row[unit]:8.2f}   {row['of_ceiling']:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--gb", type=float, default=0.7, help="bytes of tokens, in GB")
    parser.add_argument("--tokens", default="300,100", help="tokens a segment, one store each")
    parser.add_argument("--peers", default=";".join(PEERS), help="which readers to measure, with ';' between")
    parser.add_argument("--parts", default=",".join(PARTS), help="what to measure")
    arguments = parser.parse_args()
    parts = arguments.parts.split(",")
    for length in map(int, arguments.tokens.split(",")):
        print(f"\nT = {length}, D = {WIDTH}, {arguments.gb} GB, batches of {BATCH}, medians of {REPEATS}")
        rows = run(arguments.gb, length, [name for name in arguments.peers.split(";") if name], parts)
        show(rows)
        record("store", rows)
    if "memory" in parts:
        row = measure_memory()
        print(f"\n{row['text']}")
        record("store", [row])


if __name__ == "__main__":
    warnings.filterwarnings("ignore", message=".*is not recognized as a component of a Zarr hierarchy.*")
    main()
