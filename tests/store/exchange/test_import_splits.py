"""One rule for the splits of every import, whatever a person wrote: the same store, never reported on train."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mmcache.store import ConfigError, FeatureStore
from mmcache.store.exchange.hdf5_import import import_hdf5
from mmcache.store.exchange.npy_import import import_npy
from mmcache.store.segments.splits import canonical_split

NAMES = ["train", "Train", " TRAIN ", "training", "test", "Testing", "val", "VAL", "dev", "eval", "fold1", "Fold1", "b"]


def of_folder(folder: Path, splits: list[str]) -> FeatureStore:
    rows = "".join(f's{row},"{split}",x\n' for row, split in enumerate(splits))
    (folder / "segments.csv").write_text("id,split,verb\n" + rows)
    (folder / "rgb").mkdir()
    np.save(folder / "rgb" / "s0.npy", np.ones((1, 2), np.float16))
    return FeatureStore.open(import_npy(folder, folder / "npy.zarr").root)


def of_hdf5(folder: Path, splits: list[str]) -> FeatureStore:
    with h5py.File(folder / "f.h5", "w") as file:
        file["features/rgb"] = np.ones((len(splits), 1, 2), np.float16)
        file["labels/verb"] = np.zeros(len(splits), int)
        file["split"], file["ids"] = splits, [f"s{row}" for row in range(len(splits))]
    return FeatureStore.open(import_hdf5(folder / "f.h5", folder / "h5.zarr").root)


@settings(max_examples=25)
@given(st.lists(st.sampled_from(NAMES), min_size=1, max_size=5))
def test_every_import_makes_the_same_of_them(make_folder: Callable[[], Path], splits: list[str]) -> None:
    folder, made = make_folder(), []
    for read in (of_folder, of_hdf5):
        try:
            store = read(folder, splits)
            made.append((store.segments["split"].tolist(), store.meta.splits, store.meta.eval_split))
        except ConfigError as error:
            made.append(([], {}, str(error).rpartition("; ")[2]))
    assert made[0] == made[1]
    stored, counts, reported = made[0]
    if not stored:
        assert reported == "rename those that are another one"
    else:
        assert stored == [canonical_split(split) for split in splits]
        assert reported != "train"
        assert reported in {"", *counts}
        others = set(counts) - {"train"}
        assert (reported == "") == (not others & {"test", "validation"} and len(others) != 1)
