"""Export the tokens of a store to one HDF5 file; hdf5_import.py describes its format."""

import json
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from mmcache.store.feature_store import FeatureStore
from mmcache.store.files.hdf5_writing import new_hdf5
from mmcache.store.format.layout import Presence
from mmcache.store.ground.errors import ConfigError
from mmcache.store.write.token_source import Progress, no_progress

_BLOCK_ROWS = 64


def export_hdf5(store: FeatureStore, path: Path, view: int = 0, progress: Progress = no_progress) -> None:
    """Write the store's tokens (one view), lengths, presence, labels, splits and ids to `path`.

    With several encoders for a modality, the tokens of the first one are exported.
    """
    for name in store.modalities:
        if not 0 <= view < store.tokens[name].shape[1]:
            raise ConfigError(
                f"--view {view}: {store.tokens[name].name} has {store.tokens[name].shape[1]} cached views"
            )
    text = h5py.string_dtype()
    with new_hdf5(path) as (file, check):

        def checked(name: str, done: int, total: int) -> None:
            check()
            progress(name, done, total)

        file.attrs["dataset"] = store.meta.dataset
        file.attrs["eval_split"] = store.eval_split
        file.attrs["recommended"] = json.dumps(store.meta.recommended)
        file.create_dataset("ids", data=store.segments["id"].tolist(), dtype=text)
        file.create_dataset("split", data=store.segments["split"].tolist(), dtype=text)
        for group in ("features", "present", "lengths", "labels", "classes", "segments"):
            file.create_group(group, track_order=True)  # else names come back in alphabetical order
        for task, classes in store.tasks.items():
            file.create_dataset(f"labels/{task}", data=store.labels(task))
            file.create_dataset(f"classes/{task}", data=classes, dtype=text)
        for column in store.segments.columns:
            if column not in ("id", "split", *store.tasks):
                values = store.segments[column]
                numeric = pd.api.types.is_numeric_dtype(values)
                if numeric and values.isna().any():
                    values = values.astype(np.float64)  # NaN for missing values
                text_of = values.astype(object).where(values.notna(), "").map(str)
                data = values.to_numpy() if numeric else text_of.tolist()
                file.create_dataset(f"segments/{column}", data=data, dtype=None if numeric else text)
        for modality in store.modalities:
            _export_tokens(file, store, modality, view, checked)


def _export_tokens(file: h5py.File, store: FeatureStore, modality: str, view: int, progress: Progress) -> None:
    array = store.tokens[modality]
    n, _, tokens, width = array.shape
    features = file.create_dataset(
        f"features/{modality}", (n, tokens, width), array.float_dtype, chunks=(1, tokens, width)
    )
    features.attrs["encoder"] = array.encoder
    features.attrs["fingerprint"] = json.dumps(array.fingerprint.to_attributes()["fingerprint"])
    file.create_dataset(f"present/{modality}", data=(store.present[modality] == Presence.CACHED).astype(np.uint8))
    lengths = store.lengths[modality]
    if lengths is not None:
        file.create_dataset(f"lengths/{modality}", data=lengths[:, view])
    for start in range(0, n, _BLOCK_ROWS):
        rows = np.arange(start, min(start + _BLOCK_ROWS, n))
        cached = store.present[modality][rows] == Presence.CACHED
        block = np.zeros((len(rows), tokens, width), array.float_dtype)
        block[cached] = array.read_float(rows[cached], view, check=True)
        features[start : start + len(rows)] = block
        progress(modality, start + len(rows), n)
