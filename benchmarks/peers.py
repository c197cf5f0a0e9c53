"""Other libraries on the same tokens. Each writes what it needs once, and is then opened anew for every pass.

A peer is prepare(folder, tokens) and open(folder) -> reader; a reader fills out (B, T, D) with some rows. The loops in
them are what their documentation leads one to write for rows in random order.
"""

import dataclasses
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import zarr

from mmcache.store import FeatureStore

Reader = Callable[[np.ndarray, np.ndarray], None]  # (rows (B,), buffer (B, T, D)) -> buffer filled
STORE = "store.zarr"
ARRAY = f"{STORE}/tokens/rgb/bench"
THREADS = min(8, os.cpu_count() or 1)  # as many as our reader uses


def _nothing(folder: Path, tokens: np.ndarray) -> None:
    """For those who read the store itself."""


@dataclasses.dataclass(frozen=True)
class Peer:
    """One way to read. `slow` ones see fewer batches a pass: rates are per byte, so they compare all the same."""

    open: Callable[[Path], Reader]
    prepare: Callable[[Path, np.ndarray], None] = _nothing
    slow: bool = False


def ours(folder: Path) -> Reader:
    array = FeatureStore.open(folder / STORE).tokens["rgb"]

    def read(rows: np.ndarray, out: np.ndarray) -> None:
        array.read(rows, out=out)

    return read


def zarr_rows(folder: Path) -> Reader:
    array = zarr.open_array(folder / ARRAY, mode="r")

    def read(rows: np.ndarray, out: np.ndarray) -> None:
        for i, row in enumerate(rows.tolist()):
            out[i] = array[row, 0]

    return read


def zarr_oindex(folder: Path) -> Reader:
    array = zarr.open_array(folder / ARRAY, mode="r")

    def read(rows: np.ndarray, out: np.ndarray) -> None:
        out[:] = array.oindex[rows, 0]

    return read


def zarrs(folder: Path) -> Reader:
    import zarrs  # noqa: F401 - registers its pipeline

    with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}):
        return zarr_rows(folder)


def tensorstore(folder: Path) -> Reader:
    import tensorstore as ts

    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(folder / ARRAY)}}
    array = ts.open(spec, read=True, open=True).result()

    def read(rows: np.ndarray, out: np.ndarray) -> None:
        out[:] = array[rows, 0].read().result()

    return read


def _write_h5(name: str, chunked: bool) -> Callable[[Path, np.ndarray], None]:
    def prepare(folder: Path, tokens: np.ndarray) -> None:
        with h5py.File(folder / name, "w") as file:
            file.create_dataset("x", data=tokens, chunks=(1, *tokens.shape[1:]) if chunked else None)

    return prepare


def _open_h5(name: str) -> Callable[[Path], Reader]:
    def open_(folder: Path) -> Reader:
        data = h5py.File(folder / name, "r")["x"]

        def read(rows: np.ndarray, out: np.ndarray) -> None:
            for i, row in enumerate(rows.tolist()):
                data.read_direct(out, np.s_[row], np.s_[i])

        return read

    return open_


def write_npy(folder: Path, tokens: np.ndarray) -> None:
    np.save(folder / "all.npy", tokens)


def memmap(folder: Path) -> Reader:
    mapped = np.load(folder / "all.npy", mmap_mode="r")

    def read(rows: np.ndarray, out: np.ndarray) -> None:
        np.take(mapped, rows, axis=0, out=out, mode="clip")

    return read


def write_npy_files(folder: Path, tokens: np.ndarray) -> None:
    (folder / "npy").mkdir()
    for i, segment in enumerate(tokens):
        np.save(folder / "npy" / f"{i}.npy", segment)


def npy_files(folder: Path) -> Reader:
    def read(rows: np.ndarray, out: np.ndarray) -> None:
        for i, row in enumerate(rows.tolist()):
            out[i] = np.load(folder / "npy" / f"{row}.npy")

    return read


def write_litdata(folder: Path, tokens: np.ndarray) -> None:
    from litdata.streaming.writer import BinaryWriter

    (folder / "lit").mkdir()
    writer = BinaryWriter(str(folder / "lit"), chunk_bytes="64MB")
    for i, segment in enumerate(tokens):
        writer[i] = {"x": segment}
    writer.done()
    writer.merge()


def litdata(folder: Path) -> Reader:
    from litdata.streaming import StreamingDataset

    dataset = StreamingDataset(str(folder / "lit"), shuffle=False, drop_last=False)

    def read(rows: np.ndarray, out: np.ndarray) -> None:
        for i, row in enumerate(rows.tolist()):
            out[i] = dataset[row]["x"]

    return read


PEERS: dict[str, Peer] = {
    "ours": Peer(ours),
    "zarr-python, oindex": Peer(zarr_oindex, slow=True),
    "zarr-python, row by row": Peer(zarr_rows, slow=True),
    "zarrs, row by row": Peer(zarrs, slow=True),
    "tensorstore": Peer(tensorstore),
    "h5py contiguous": Peer(_open_h5("contiguous.h5"), _write_h5("contiguous.h5", chunked=False)),
    "h5py chunked": Peer(_open_h5("chunked.h5"), _write_h5("chunked.h5", chunked=True), slow=True),
    "numpy memmap": Peer(memmap, write_npy),
    "npy files": Peer(npy_files, write_npy_files, slow=True),
    "litdata": Peer(litdata, write_litdata, slow=True),
}


# The ceilings: what memory and disk give, with one thread and with as many as our reader uses.


def gather(tokens: np.ndarray, threads: int) -> Reader:
    """Rows of an array in RAM into the buffer: np.take, on each thread a part of the batch."""
    pool = ThreadPoolExecutor(threads)

    def take(rows: np.ndarray, out: np.ndarray) -> None:
        np.take(tokens, rows, axis=0, out=out, mode="clip")

    def read(rows: np.ndarray, out: np.ndarray) -> None:
        parts = zip(np.array_split(rows, threads), np.array_split(out, threads), strict=True)
        list(pool.map(lambda part: take(*part), parts))

    return take if threads == 1 else read


def write_raw(folder: Path, tokens: np.ndarray) -> None:
    tokens.tofile(folder / "raw.bin")


def raw_preadv(folder: Path, size: int, threads: int) -> Reader:
    """Rows of a plain file without header or checksum, one preadv each, on each thread a part of the batch."""
    file = os.open(folder / "raw.bin", os.O_RDONLY)
    pool = ThreadPoolExecutor(threads)

    def part(rows: np.ndarray, out: np.ndarray) -> None:
        flat = out.reshape(-1).view(np.uint8).data
        for i, row in enumerate(rows.tolist()):
            os.preadv(file, [flat[i * size : (i + 1) * size]], row * size)

    def read(rows: np.ndarray, out: np.ndarray) -> None:
        parts = zip(np.array_split(rows, threads), np.array_split(out, threads), strict=True)
        list(pool.map(lambda piece: part(*piece), parts))

    return part if threads == 1 else read
