"""What `store import` reads, and what a store's own files may say."""

import itertools
import shutil
from pathlib import Path

import h5py
import numpy as np
from edits import raw, table, tree
from target import Arrays, Target

from mmcache.store.exchange.hdf5_import import import_hdf5
from mmcache.store.exchange.npy_export import export_npy
from mmcache.store.exchange.npy_import import import_npy
from mmcache.store.feature_store import FeatureStore
from mmcache.store.format.layout import Presence
from mmcache.store.ground.errors import MmcacheError
from mmcache.store.manage.verify import verify

_SEGMENTS, _TOKENS, _WIDTH = 12, 4, 96  # a segment is larger than what one edit overwrites
_counter = itertools.count()


def _tokens(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(_SEGMENTS, _TOKENS, _WIDTH)).astype(np.float32)


def write_hdf5(folder: Path) -> list[Path]:
    path = folder / "f.h5"
    with h5py.File(path, "w") as file:
        file["features/rgb"], file["features/audio"] = _tokens(0), _tokens(1)
        file["present/audio"] = np.array([1, 0, 1] * 4, np.uint8)
        file["lengths/rgb"] = np.full(_SEGMENTS, 3)
        file["labels/action"] = np.arange(_SEGMENTS) % 3
        file["classes/action"] = ["cut", "wash", "cook"]
        file["split"] = ["train", "train", "test"] * 4
        file["ids"] = [f"s{i}" for i in range(_SEGMENTS)]
    return [path]


def write_npy(folder: Path) -> list[Path]:
    rows = [f"s{i},{('train', 'test')[i % 3 == 2]},{('cut', 'wash')[i % 2]}" for i in range(_SEGMENTS)]
    (folder / "segments.csv").write_text("\n".join(["id,split,action", *rows]) + "\n")
    (folder / "rgb").mkdir()
    for number, tokens in enumerate(_tokens()):
        np.save(folder / f"rgb/s{number}.npy", tokens)
    return [folder / f"rgb/s{number}.npy" for number in range(_SEGMENTS)]


def _exported(folder: Path) -> list[Path]:
    import_hdf5(write_hdf5(folder)[0], folder / "s.zarr")
    export_npy(FeatureStore.open(folder / "s.zarr"), folder / "out")
    return [folder / "out/mmcache.json"]


def _cached(root: Path) -> Arrays:
    """Every cached segment's tokens."""
    store = FeatureStore.open(root)
    for modality in store.modalities:
        rows = np.flatnonzero(store.present[modality] == Presence.CACHED)
        yield from store.tokens[modality].read_float(rows, check=True)


def _imported(folder: Path, read: object) -> Arrays:
    root = folder.parent / f"{folder.name}-stores" / f"{next(_counter)}.zarr"
    try:
        read(root)  # type: ignore[operator]
        return list(_cached(root))
    finally:
        shutil.rmtree(root.parent, ignore_errors=True)


def _write_store(folder: Path) -> list[Path]:
    import_hdf5(write_hdf5(folder)[0], folder / "s.zarr")
    (folder / "f.h5").unlink()
    return sorted(path for path in (folder / "s.zarr").rglob("*") if path.is_file())


def _metadata(folder: Path) -> list[Path]:
    return [path for path in _write_store(folder) if path.name == "zarr.json"]


def _other_files(folder: Path) -> list[Path]:
    return [path for path in _write_store(folder) if path.name != "zarr.json"]


def _read_store(folder: Path) -> Arrays:
    """What `store verify` calls sound must be read to the end."""
    root = folder / "s.zarr"
    sound = not verify(root)
    try:
        found = [np.asarray(tokens) for tokens in _cached(root)]
        store = FeatureStore.open(root)
        for split in store.meta.splits:
            for batch in store.batches(split=split, batch_size=5, seed=0, epoch=0):
                assert set(batch.labels) == set(store.tasks)
    except MmcacheError as error:
        if sound:
            raise AssertionError(f"verify calls it sound, but: {error}") from error
        raise
    return found


TARGETS = (
    Target(
        "import:hdf5",
        write_hdf5,
        lambda folder: _imported(folder, lambda root: import_hdf5(folder / "f.h5", root)),
        raw(),
        (MmcacheError,),
    ),
    Target(
        "import:npy",
        write_npy,
        lambda folder: _imported(folder, lambda root: import_npy(folder, root)),
        raw(),
        (MmcacheError,),
    ),
    Target(
        "import:segments.csv",
        lambda folder: [write_npy(folder) and folder / "segments.csv"],
        lambda folder: _imported(folder, lambda root: import_npy(folder, root)),
        table(),
        (MmcacheError,),
    ),
    Target(
        "import:mmcache.json",
        _exported,
        lambda folder: _imported(folder, lambda root: import_npy(folder / "out", root)),
        tree(),
        (MmcacheError,),
    ),
    Target("store:zarr.json", _metadata, _read_store, tree(), (MmcacheError,)),
    Target("store:other files", _other_files, _read_store, raw(), (MmcacheError,)),
)
