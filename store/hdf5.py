"""HDF5 interchange: one file that other tools write and read.

features/<modality>   (N, T, D)       attrs: encoder, and the fingerprint where one is known
lengths/<modality>    (N,)            optional
present/<modality>    (N,) 0 or 1     optional, default all 1
labels/<task>         (N,) -1 = none
split, ids            (N,) strings
classes/<task>        (C,) strings    optional
segments/<column>     (N,)            optional: video, start_s, stop_s, and the data set's own columns
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from mmcache.store import layout
from mmcache.store.atomic import TEMPORARY_PREFIX
from mmcache.store.create import ensure_store
from mmcache.store.errors import ConfigError, Problems, StoreError
from mmcache.store.feature_store import FeatureStore
from mmcache.store.fingerprint import Fingerprint
from mmcache.store.hdf5_form import check_form, is_text, read_text
from mmcache.store.layout import Presence, StoreMeta
from mmcache.store.lock import writer_lock
from mmcache.store.reports import finish_reports
from mmcache.store.segments import REQUIRED, check_segments
from mmcache.store.source import Progress, TokenSource, check_dtype, silent, write_source
from mmcache.store.splits import canonical_splits, stated_or_usual

_BLOCK_ROWS = 64


def export_hdf5(store: FeatureStore, path: Path, view: int = 0, progress: Progress = silent) -> None:
    """Write the store's tokens (one view), lengths, presence, labels, splits and ids to `path`.

    With several encoders for a modality, the first one's tokens are exported.
    """
    for name in store.modalities:
        if not 0 <= view < store.tokens[name].shape[1]:
            raise ConfigError(
                f"--view {view}: {store.tokens[name].name} has {store.tokens[name].shape[1]} cached views"
            )
    temporary = path.parent / f"{TEMPORARY_PREFIX}{path.name}"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = h5py.string_dtype()
    try:
        with h5py.File(temporary, "w") as file:
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
                        values = values.astype(np.float64)  # NaN is the gap
                    text_of = values.astype(object).where(values.notna(), "").map(str)
                    data = values.to_numpy() if numeric else text_of.tolist()
                    file.create_dataset(f"segments/{column}", data=data, dtype=None if numeric else text)
            for modality in store.modalities:
                _export_tokens(file, store, modality, view, progress)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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


def import_hdf5(
    source: Path,
    root: Path,
    shard_bytes: int = layout.DEFAULT_SHARD_BYTES,
    progress: Progress = silent,
    dtype: str | None = None,
) -> None:
    """Write the contents of an HDF5 file into the store at `root`, made if need be.

    An interrupted import continues with the same command. Tokens are stored as `dtype`; None = as the file has them.

    Raises:
        ConfigError: the file is no HDF5, or what it holds is not of the documented form; all faults at once.
        StoreError: `root` holds other segments.
    """
    if not source.exists():
        raise ConfigError(f"{source} is not there: give an HDF5 file or a folder of .npy files")
    try:
        file = h5py.File(source, "r")
    except OSError as error:
        raise ConfigError(f"{source} cannot be opened as HDF5: {error}") from error
    with file, writer_lock(root):
        check_form(file, source)
        segments, meta = _segments(file, source)
        check_segments(segments, meta.tasks)  # before anything is written
        ensure_store(root, segments, meta)
        ids = read_text(file["ids"])
        for modality in file["features"]:
            write_source(root, _source(file, modality, ids, dtype), shard_bytes, progress)
        finish_reports(root)


def _segments(file: h5py.File, source: Path) -> tuple[pd.DataFrame, StoreMeta]:
    """The segments and metadata; where the file has no spans, each segment is its own one-second video."""
    problems = Problems()
    split = canonical_splits(pd.Series(read_text(file["split"]), dtype=object), f"'split' of {source}", problems)
    problems.raise_if_any()
    columns: dict[str, Any] = {"id": read_text(file["ids"]), "split": split.tolist()}
    for name, values in file.get("segments", {}).items():
        if name in ("id", "split"):
            continue  # 'ids' and 'split' say it
        columns[name] = read_text(values) if is_text(values) else values[:]
    labels = {task: values[:].astype(np.int64) for task, values in file["labels"].items()}
    defaults = {"video": columns["id"], "start_s": 0.0, "stop_s": 1.0}
    table = pd.DataFrame({**defaults, **columns, **labels})
    tasks = {}
    for task, values in labels.items():
        if f"classes/{task}" in file:
            tasks[task] = read_text(file[f"classes/{task}"])
        else:
            tasks[task] = [str(label) for label in range(int(values.max(initial=-1)) + 1)]
    splits = {str(split): int(count) for split, count in sorted(table["split"].value_counts().items())}
    eval_split = stated_or_usual(file.attrs.get("eval_split"), splits)
    extras = [c for c in table.columns if c not in REQUIRED and c not in tasks]
    dataset = str(file.attrs.get("dataset", source.stem))
    meta = StoreMeta(dataset, tasks, splits, eval_split, recommended=_recommended(file))
    return table[[*REQUIRED, *tasks, *extras]], meta


def _recommended(file: h5py.File) -> dict[str, Any]:
    """The data set's own fuse settings, which an export takes along; none where they are not a mapping."""
    try:
        saved = json.loads(file.attrs.get("recommended", "{}"))
    except (ValueError, TypeError):
        return {}
    return saved if isinstance(saved, dict) else {}


def _fingerprint(features: h5py.Dataset) -> Fingerprint:
    """The fingerprint the file carries, else one of the tokens themselves."""
    if "fingerprint" in features.attrs:
        try:
            return Fingerprint.from_attributes({"fingerprint": json.loads(features.attrs["fingerprint"])})
        except (ValueError, TypeError, StoreError) as error:
            raise ConfigError(f"the 'fingerprint' attribute of '{features.name}' is damaged: {error}") from error
    digest = hashlib.sha256()
    for start in range(0, len(features), _BLOCK_ROWS):
        digest.update(np.ascontiguousarray(features[start : start + _BLOCK_ROWS]).data)
    return Fingerprint(str(features.attrs.get("encoder", "hdf5")), "import", digest.hexdigest(), {}, None, 0)


def _source(file: h5py.File, modality: str, ids: list[str], dtype: str | None) -> TokenSource:
    features = file["features"][modality]
    n, tokens, width = features.shape
    lengths = file[f"lengths/{modality}"][:] if f"lengths/{modality}" in file else None
    present = file[f"present/{modality}"][:] if f"present/{modality}" in file else np.ones(n, np.uint8)

    def read(row: int) -> tuple[np.ndarray, np.ndarray | None]:
        return features[row : row + 1], None if lengths is None else lengths[row : row + 1]

    return TokenSource(
        modality=modality,
        fingerprint=_fingerprint(features),
        shape=(1, tokens, width),
        dtype=check_dtype(dtype, features.dtype.name),
        variable_length=lengths is not None,
        status=np.where(present == 1, Presence.CACHED, Presence.MISSING).astype(np.uint8),
        read=read,
        ids=ids,
    )
