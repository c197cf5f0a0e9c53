"""Random batches out of a store: ours, other libraries on the same tokens, and two ceilings, in one run.

Every reader fills the same kind of buffer with the same random batches of the same float16 tokens (N, T, D), in the
same order, one reader after another. Warm: the files are in the page cache. Cold: they are evicted before each pass.
The ceilings are an in-RAM gather of the same rows (warm) and raw preadv of the same bytes (cold).

    make bench-store                      # 0.7 GB at T = 300, and the same at T = 100
    python benchmarks/bench_store.py --gb 0.2 --readers ours,zarr-python
"""

import argparse
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import zarr
from harness import REPEATS, record

from mmcache.store import FeatureStore, Presence, StoreMeta
from mmcache.store.create import create_store
from mmcache.store.fingerprint import Fingerprint
from mmcache.store.reports import finish_reports
from mmcache.store.writer import add_tokens

BATCH, WIDTH = 32, 768
Reader = Callable[[np.ndarray, np.ndarray], None]  # (rows (B,), buffer (B, T, D)) -> buffer filled


def make_store(root: Path, tokens: np.ndarray) -> None:
    """Write (N, T, D) tokens as a store with shards of 128 MiB."""
    n, length, width = tokens.shape
    segments = pd.DataFrame({"id": [f"s{i}" for i in range(n)], "video": "v", "start_s": 0.0, "stop_s": 1.0})
    segments = segments.assign(split="train", label=np.arange(n) % 10)
    create_store(root, segments, StoreMeta("bench", {"label": [str(c) for c in range(10)]}, {"train": n}, "train"))
    fingerprint = Fingerprint("bench", "random:0", "", {}, None, 1)
    writer = add_tokens(root, "rgb", fingerprint, length, width)
    for shard in range(writer.grid.n_shards):
        commit = writer.shard(shard)
        for row in commit.rows:
            commit.put(row, tokens[row : row + 1])
        commit.commit()
    finish_reports(root)
    assert (FeatureStore.open(root).present["rgb"] == Presence.CACHED).all()


# Each of these writes what its library needs and returns its reader.


def ours(folder: Path, tokens: np.ndarray) -> Reader:
    array = FeatureStore.open(folder / "store.zarr").tokens["rgb"]

    def read(rows: np.ndarray, out: np.ndarray) -> None:
        array.read(rows, out=out)

    return read


def zarr_python(folder: Path, tokens: np.ndarray) -> Reader:
    array = zarr.open_array(folder / "store.zarr" / "tokens" / "rgb" / "bench", mode="r")

    def read(rows: np.ndarray, out: np.ndarray) -> None:
        for i, row in enumerate(rows.tolist()):
            out[i] = array[row, 0]

    return read


def zarrs(folder: Path, tokens: np.ndarray) -> Reader:
    import zarrs  # noqa: F401 - registers its pipeline

    with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}):
        return zarr_python(folder, tokens)


def tensorstore(folder: Path, tokens: np.ndarray) -> Reader:
    import tensorstore as ts

    path = str(folder / "store.zarr" / "tokens" / "rgb" / "bench")
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": path}}
    array = ts.open(spec, read=True, open=True).result()

    def read(rows: np.ndarray, out: np.ndarray) -> None:
        out[:] = array[rows, 0].read().result()

    return read


def h5py_contiguous(folder: Path, tokens: np.ndarray) -> Reader:
    return _h5py(folder / "contiguous.h5", tokens, None)


def h5py_chunked(folder: Path, tokens: np.ndarray) -> Reader:
    return _h5py(folder / "chunked.h5", tokens, (1, *tokens.shape[1:]))


def _h5py(path: Path, tokens: np.ndarray, chunks: tuple[int, ...] | None) -> Reader:
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=tokens, chunks=chunks)
    data = h5py.File(path, "r")["x"]

    def read(rows: np.ndarray, out: np.ndarray) -> None:
        for i, row in enumerate(rows.tolist()):
            data.read_direct(out, np.s_[row], np.s_[i])

    return read


def memmap(folder: Path, tokens: np.ndarray) -> Reader:
    np.save(folder / "all.npy", tokens)
    mapped = np.load(folder / "all.npy", mmap_mode="r")

    def read(rows: np.ndarray, out: np.ndarray) -> None:
        np.take(mapped, rows, axis=0, out=out, mode="clip")

    return read


def npy_files(folder: Path, tokens: np.ndarray) -> Reader:
    (folder / "npy").mkdir()
    for i, segment in enumerate(tokens):
        np.save(folder / "npy" / f"{i}.npy", segment)

    def read(rows: np.ndarray, out: np.ndarray) -> None:
        for i, row in enumerate(rows.tolist()):
            out[i] = np.load(folder / "npy" / f"{row}.npy")

    return read


def litdata(folder: Path, tokens: np.ndarray) -> Reader:
    from litdata.streaming import StreamingDataset
    from litdata.streaming.writer import BinaryWriter

    (folder / "lit").mkdir()
    writer = BinaryWriter(str(folder / "lit"), chunk_bytes="64MB")
    for i, segment in enumerate(tokens):
        writer[i] = {"x": segment}
    writer.done()
    writer.merge()
    dataset = StreamingDataset(str(folder / "lit"), shuffle=False, drop_last=False)

    def read(rows: np.ndarray, out: np.ndarray) -> None:
        for i, row in enumerate(rows.tolist()):
            out[i] = dataset[row]["x"]

    return read


READERS: dict[str, Callable[[Path, np.ndarray], Reader]] = {
    "ours": ours,
    "zarr-python": zarr_python,
    "zarrs": zarrs,
    "tensorstore": tensorstore,
    "h5py contiguous": h5py_contiguous,
    "h5py chunked": h5py_chunked,
    "numpy memmap": memmap,
    "npy files": npy_files,
    "litdata": litdata,
}


def evict(folder: Path) -> None:
    """Drop a folder's files from the page cache."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def raw_preadv(folder: Path, tokens: np.ndarray) -> Reader:
    """The cold ceiling: the same bytes at the same places of one plain file."""
    path = folder / "raw.bin"
    tokens.tofile(path)
    file, size = os.open(path, os.O_RDONLY), tokens[0].nbytes

    def read(rows: np.ndarray, out: np.ndarray) -> None:
        flat = out.reshape(-1).view(np.uint8).data
        for i, row in enumerate(rows.tolist()):
            os.preadv(file, [flat[i * size : (i + 1) * size]], row * size)

    return read


def passes(reader: Reader, batches: list[np.ndarray], out: np.ndarray, before: Callable[[], None]) -> list[float]:
    """GB/s of REPEATS passes over the batches, `before` each of them."""
    rates = []
    for _ in range(REPEATS):
        before()
        began = time.perf_counter()
        for rows in batches:
            reader(rows, out)
        rates.append(len(batches) * out.nbytes / (time.perf_counter() - began) / 1e9)
    return rates


def check(reader: Reader, tokens: np.ndarray, rows: np.ndarray, out: np.ndarray) -> None:
    """A reader that reads something else is not measured."""
    out[:] = 0
    reader(rows, out)
    np.testing.assert_array_equal(out.view(np.uint16), tokens[rows].view(np.uint16))


def run(gb: float, length: int, names: list[str], cold: bool) -> list[dict[str, Any]]:
    n = max(4 * BATCH, int(gb * 1e9 / (length * WIDTH * 2)))
    rng = np.random.default_rng(0)
    tokens = rng.standard_normal((n, length, WIDTH), dtype=np.float32).astype(np.float16)
    order = rng.permutation(n)[: n // BATCH * BATCH].reshape(-1, BATCH)
    out = np.empty((BATCH, length, WIDTH), np.float16)
    rows = []
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as name:
        folder = Path(name)
        make_store(folder / "store.zarr", tokens)

        def gather(wanted: np.ndarray, buffer: np.ndarray) -> None:
            np.take(tokens, wanted, axis=0, out=buffer, mode="clip")

        raw = raw_preadv(folder, tokens)
        for state in ("warm", "cold") if cold else ("warm",):
            before = (lambda: evict(folder)) if state == "cold" else (lambda: None)
            ceilings = {"in-RAM gather": gather, "raw preadv": raw}
            figures: dict[str, list[float]] = {}
            for title, make in {**dict.fromkeys(ceilings), **{k: READERS[k] for k in names}}.items():
                # Slow readers see fewer batches; rates are per byte, so they compare all the same.
                reader = ceilings[title] if make is None else make(folder, tokens)
                few = order[: 8 if title in ("zarr-python", "zarrs", "h5py chunked", "npy files", "litdata") else None]
                check(reader, tokens, few[0], out)
                if state == "warm":
                    for batch in few:
                        reader(batch, out)
                figures[title] = passes(reader, list(few), out, before)
                _clean(folder, title)
            ceiling = float(np.median(figures["in-RAM gather" if state == "warm" else "raw preadv"]))
            for title, rates in figures.items():
                rows.append(
                    {"name": title, "state": state, "segments": n, "tokens": length, "width": WIDTH, "batch": BATCH}
                    | {"gb_per_s": float(np.median(rates)), "min": min(rates), "max": max(rates)}
                    | {"repeats": REPEATS, "of_ceiling": float(np.median(rates)) / ceiling}
                )
    return rows


def _clean(folder: Path, title: str) -> None:
    """Remove what a reader wrote for itself, so that the disk need not hold all of it at once."""
    for name in {"h5py contiguous": ["contiguous.h5"], "h5py chunked": ["chunked.h5"], "numpy memmap": ["all.npy"],
                 "npy files": ["npy"], "litdata": ["lit"]}.get(title, []):  # fmt: skip
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--gb", type=float, default=0.7, help="bytes of tokens, in GB")
    parser.add_argument("--tokens", default="300,100", help="tokens a segment, one store each")
    parser.add_argument("--readers", default=",".join(READERS), help="which to measure")
    parser.add_argument("--no-cold", action="store_true")
    arguments = parser.parse_args()
    names = [name for name in arguments.readers.split(",") if name]
    for length in map(int, arguments.tokens.split(",")):
        rows = run(arguments.gb, length, names, not arguments.no_cold)
        path = record("store", rows)
        print(f"\nT = {length}, D = {WIDTH}, float16, batches of {BATCH}; GB/s, median of {REPEATS} (share of ceiling)")
        states = {row["state"]: {r["name"]: r for r in rows if r["state"] == row["state"]} for row in rows}
        for title in rows and dict.fromkeys(row["name"] for row in rows):
            cells = [f"{s[title]['gb_per_s']:8.2f} ({s[title]['of_ceiling']:5.2f})" for s in states.values()]
            print(f"{title:>16}  " + "  ".join(f"{state} {cell}" for state, cell in zip(states, cells, strict=True)))
    print(f"rows: {path}")


if __name__ == "__main__":
    warnings.filterwarnings("ignore", message=".*is not recognized as a component of a Zarr hierarchy.*")
    main()
