"""Export the tokens of a store to a folder of .npy files; npy_import.py describes its format."""

import csv
import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from mmcache.store.exchange.npy_form import ABOUT, CLASSES, TABLE, file_name
from mmcache.store.feature_store import FeatureStore
from mmcache.store.files.atomic import fsync_folder, remove_leftovers, temporary_beside, with_path
from mmcache.store.format.layout import Presence
from mmcache.store.ground.errors import ConfigError
from mmcache.store.segments.labels import escaped
from mmcache.store.write.token_source import Progress, no_progress


def export_npy(store: FeatureStore, folder: Path, view: int = 0, progress: Progress = no_progress) -> None:
    """Write one view of a store's tokens, its labels, splits and classes to a new folder.

    The folder appears whole or not at all. With several encoders for a modality, the tokens of the first are exported.

    Raises:
        ConfigError: `folder` exists, there is no such view, or an id is too long for a file name.
        StoreError: tokens fail their checksum.
    """
    if folder.exists():
        raise ConfigError(f"{folder} exists already; give the name of a new folder")
    for modality in store.modalities:
        if not 0 <= view < store.tokens[modality].shape[1]:
            raise ConfigError(f"--view {view}: {modality} has {store.tokens[modality].shape[1]} cached views")
    if CLASSES in store.modalities:
        raise ConfigError(
            f"a modality named '{CLASSES}' conflicts with the folder of class names; export to HDF5 instead"
        )
    too_long = [segment for segment in store.segments["id"] if len(file_name(segment)) > 255]
    if too_long:
        raise ConfigError(f"segment id '{too_long[0][:40]}...' is too long for a file name; export to HDF5 instead")
    remove_leftovers(folder)
    temporary = temporary_beside(folder)
    (temporary / CLASSES).mkdir(parents=True)
    try:
        store.segments.to_csv(temporary / TABLE, index=False, quoting=csv.QUOTE_NONNUMERIC)
        for task, classes in store.tasks.items():
            text = "".join(f"{escaped(name)}\n" for name in classes)
            (temporary / CLASSES / f"{task}.txt").write_text(text)
        about = {
            "dataset": store.meta.dataset,
            "eval_split": store.eval_split,
            "recommended": store.meta.recommended,
            "tasks": list(store.tasks),
            "columns": {column: _kind(store.segments[column]) for column in store.segments},
            "fingerprints": {m: store.tokens[m].fingerprint.to_attributes()["fingerprint"] for m in store.modalities},
        }
        (temporary / ABOUT).write_text(json.dumps(about, indent=1))
        for modality in store.modalities:
            _export_tokens(store, modality, temporary / modality, view, progress)
        os.replace(temporary, folder)
        fsync_folder(folder.parent)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError):
            raise with_path(error, folder) from error
        raise


def _kind(column: pd.Series) -> str:
    if pd.api.types.is_bool_dtype(column):
        return "truth"
    return "number" if pd.api.types.is_numeric_dtype(column) else "text"


def _export_tokens(store: FeatureStore, modality: str, folder: Path, view: int, progress: Progress) -> None:
    folder.mkdir()
    array, lengths = store.tokens[modality], store.lengths[modality]
    ids = store.segments["id"].tolist()
    cached = np.flatnonzero(store.present[modality] == Presence.CACHED)
    for done, row in enumerate(cached.tolist()):
        tokens = array.read_float(np.array([row]), view, check=True)[0]
        buffer = io.BytesIO()  # on a full disk, the error of np.save has neither reason nor file name
        np.save(buffer, tokens if lengths is None else tokens[: lengths[row, view]])
        (folder / file_name(ids[row])).write_bytes(buffer.getbuffer())
        progress(modality, done + 1, len(cached))
