"""Interchange as a folder of .npy files, one a segment and modality: what many feature releases look like.

FOLDER/segments.csv             id, split, labels; optional video, start_s, stop_s and columns of your own
FOLDER/<modality>/<id>.npy      (T, D) floats, or (D,) for one token; export percent-encodes ids
FOLDER/classes/<task>.txt       optional: one class name a line, line i = label i
FOLDER/mmcache.json             optional, written by export: dataset, eval_split, recommended settings, fingerprints

A segment without a file lacks that modality. Segments may have different T; all of a modality have the same D.
"""

import csv
import dataclasses
import hashlib
import json
import os
import shutil
import urllib.parse
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmcache.store import layout
from mmcache.store.atomic import fsync_folder, remove_leftovers, temporary_beside
from mmcache.store.create import ensure_store
from mmcache.store.errors import ConfigError, Problems, StoreError, UnstorableTokens
from mmcache.store.feature_store import FeatureStore
from mmcache.store.fingerprint import Fingerprint
from mmcache.store.labels import escaped, read_labels
from mmcache.store.layout import Presence, StoreMeta
from mmcache.store.lock import writer_lock
from mmcache.store.reports import finish_reports
from mmcache.store.segments import REQUIRED, check_segments, is_task_name
from mmcache.store.source import Progress, TokenSource, check_dtype, silent, write_source
from mmcache.store.splits import canonical_splits, stated_or_usual

_TABLE, _CLASSES, _ABOUT = "segments.csv", "classes", "mmcache.json"
_FORM = "see `mmcache store import --help` for the form"


def file_name(segment_id: str) -> str:
    """The file of a segment: its id, percent-encoded so that no id can lead out of the folder."""
    return f"{urllib.parse.quote(segment_id, safe=' ')}.npy"


def export_npy(store: FeatureStore, folder: Path, view: int = 0, progress: Progress = silent) -> None:
    """Write one view of a store's tokens, its labels, splits and classes to a new folder.

    It appears whole or not at all. With several encoders for a modality, the first one's tokens are exported.

    Raises:
        ConfigError: `folder` exists, there is no such view, or an id is too long for a file name.
        StoreError: tokens fail their checksum.
    """
    if folder.exists():
        raise ConfigError(f"{folder} exists already; give the name of a new folder")
    for modality in store.modalities:
        if not 0 <= view < store.tokens[modality].shape[1]:
            raise ConfigError(f"--view {view}: {modality} has {store.tokens[modality].shape[1]} cached views")
    if _CLASSES in store.modalities:
        raise ConfigError(f"a modality named '{_CLASSES}' has no place in such a folder; export to HDF5 instead")
    too_long = [segment for segment in store.segments["id"] if len(file_name(segment)) > 255]
    if too_long:
        raise ConfigError(f"segment id '{too_long[0][:40]}...' is too long for a file name; export to HDF5 instead")
    remove_leftovers(folder)
    temporary = temporary_beside(folder)
    (temporary / _CLASSES).mkdir(parents=True)
    try:
        store.segments.to_csv(temporary / _TABLE, index=False, quoting=csv.QUOTE_NONNUMERIC)
        for task, classes in store.tasks.items():
            text = "".join(f"{escaped(name)}\n" for name in classes)
            (temporary / _CLASSES / f"{task}.txt").write_text(text)
        about = {
            "dataset": store.meta.dataset,
            "eval_split": store.eval_split,
            "recommended": store.meta.recommended,
            "tasks": list(store.tasks),
            "columns": {column: _kind(store.segments[column]) for column in store.segments},
            "fingerprints": {m: store.tokens[m].fingerprint.to_attributes()["fingerprint"] for m in store.modalities},
        }
        (temporary / _ABOUT).write_text(json.dumps(about, indent=1))
        for modality in store.modalities:
            _export_tokens(store, modality, temporary / modality, view, progress)
        os.replace(temporary, folder)
        fsync_folder(folder.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
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
        np.save(folder / file_name(ids[row]), tokens if lengths is None else tokens[: lengths[row, view]])
        progress(modality, done + 1, len(cached))


def import_npy(
    folder: Path,
    root: Path,
    shard_bytes: int = layout.DEFAULT_SHARD_BYTES,
    progress: Progress = silent,
    dtype: str | None = None,
    tasks: list[str] | None = None,
) -> None:
    """Write the contents of such a folder into the store at `root`, made if need be.

    An interrupted import continues with the same command. A file that cannot be used is a failed segment with its
    reason, as in extract.

    Args:
        dtype: how tokens are stored; None = float16 where all files of a modality are, else float32.
        tasks: the columns that are labels; None = those with a classes file, or else all columns that are not
            id, video, start_s, stop_s or split.

    Raises:
        ConfigError: the folder is not of the documented form; all faults at once.
        StoreError: `root` holds other segments.
    """
    about = _read_about(folder)
    segments, meta = _read_segments(folder, about, tasks)
    modalities = sorted(path.name for path in folder.iterdir() if path.is_dir() and any(path.glob("*.npy")))
    problems = Problems()
    if not modalities:
        problems.add(f"{folder} has no folder of .npy files; {_FORM}")
    for modality in modalities:
        try:
            layout.check_name("modality", modality)
        except StoreError as error:
            problems.add(str(error))
    problems.raise_if_any()
    ids = segments["id"].tolist()
    scans = {modality: _scan(folder / modality, ids) for modality in modalities}
    with writer_lock(root):
        ensure_store(root, segments, meta)
        for modality, scan in scans.items():
            fingerprint = _fingerprint(about, modality, scan)
            write_source(root, _source(modality, scan, fingerprint, dtype), shard_bytes, progress)
        finish_reports(root)


def _read_about(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder")
    file = folder / _ABOUT
    try:
        about = json.loads(file.read_text()) if file.exists() else {}
        if not isinstance(about, dict):
            raise ValueError("it holds no mapping")
    except ValueError as error:
        raise ConfigError(f"{file} cannot be read: {error}. Remove it to import without it.") from error
    return about


def _read_segments(folder: Path, about: dict[str, Any], tasks: list[str] | None) -> tuple[pd.DataFrame, StoreMeta]:
    """The segments with integer labels, and the metadata; without spans, each segment is a one-second video."""
    file = folder / _TABLE
    try:
        kinds = about.get("columns")  # of an export; else each column is what it looks like
        known = kinds if isinstance(kinds, dict) else {}
        dtype: Any = str if known else dict.fromkeys(("id", "split", "video"), str)
        table = pd.read_csv(file, dtype=dtype, keep_default_na=False, na_values={"start_s": [""], "stop_s": [""]})
        for column in table.columns:
            if known.get(column) == "number":
                table[column] = pd.to_numeric(table[column], errors="coerce")
            elif known.get(column) == "truth":
                table[column] = table[column] == "True"
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} cannot be read: {error}; {_FORM}") from error
    lacking = [column for column in ("id", "split") if column not in table.columns]
    if lacking:
        raise ConfigError(f"{file} lacks the columns {', '.join(lacking)}; {_FORM}")
    if not len(table):
        raise ConfigError(f"{file} has no segments: there is nothing to import")
    table = table.assign(**{k: v for k, v in {"start_s": 0.0, "stop_s": 1.0}.items() if k not in table.columns})
    if "video" not in table.columns:
        table["video"] = table["id"]
    listed = {path.stem for path in (folder / _CLASSES).glob("*.txt")}
    rest = [column for column in table.columns if column not in REQUIRED]
    exported = about.get("tasks")
    chosen = tasks or (exported if isinstance(exported, list) else [c for c in rest if c in listed] or rest)
    problems = Problems()
    table["split"] = canonical_splits(table["split"], str(file), problems)
    classes = {}
    for task in chosen:
        if task not in rest:
            problems.add(f"task '{task}' is no column of {file}; there are: {', '.join(rest) or 'none'}")
        elif not is_task_name(task):
            problems.add(f"'{task}' cannot name a task: use lower-case letters, digits and '_'")
        else:
            classes[task], table[task] = read_labels(table[task], folder / _CLASSES / f"{task}.txt", problems)
    problems.raise_if_any()
    splits = {str(split): int(n) for split, n in sorted(table["split"].value_counts().items())}
    recommended = about.get("recommended")
    meta = StoreMeta(
        dataset=str(about.get("dataset", folder.name)),
        tasks=classes,
        splits=splits,
        eval_split=stated_or_usual(about.get("eval_split"), splits),
        recommended=recommended if isinstance(recommended, dict) else {},
    )
    extras = [column for column in table.columns if column not in (*REQUIRED, *classes)]
    table = table[[*REQUIRED, *classes, *extras]]
    check_segments(table, classes)  # before anything is written
    return table, meta


@dataclasses.dataclass(frozen=True)
class _Scan:
    """What the headers of one modality's files say.

    Attributes:
        files: row -> file.
        shapes: row -> (T, D) of the files that can be used.
        reasons: id -> why one cannot.
    """

    ids: list[str]
    files: dict[int, Path]
    shapes: dict[int, tuple[int, int]]
    width: int
    dtype: str
    reasons: dict[str, str]


def _scan(folder: Path, ids: list[str]) -> _Scan:
    found = set(os.listdir(folder))
    files = {}
    for row, segment in enumerate(ids):
        for name in (f"{segment}.npy", file_name(segment)):  # as people name them, else as export does
            if name in found:  # one name of this very folder, whatever the id is
                files[row] = folder / name
                break
    shapes: dict[int, tuple[int, int]] = {}
    dtypes: set[np.dtype] = set()
    reasons: dict[str, str] = {}
    for row, file in files.items():
        try:
            shapes[row], dtype = _header(file)
            dtypes.add(dtype)
        except UnstorableTokens as reason:
            reasons[ids[row]] = str(reason)
    widths = Counter(width for _, width in shapes.values())
    width = widths.most_common(1)[0][0] if widths else 1
    for row, shape in list(shapes.items()):
        if shape[1] != width:
            reasons[ids[row]] = f"{files[row].name} has tokens of width {shape[1]}, most have {width}"
            del shapes[row]
    dtype_name = "float16" if dtypes <= {np.dtype(np.float16)} else "float32"
    return _Scan(ids, files, shapes, width, dtype_name, reasons)


def _header(file: Path) -> tuple[tuple[int, int], np.dtype]:
    """((T, D), dtype) of a file. Raises UnstorableTokens with the reason when it cannot be used."""
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a damaged header makes NumPy raise whatever its parser stumbles over
        reason = " ".join(str(error).split())[:200]
        if "allow_pickle" in reason:  # NumPy takes whatever it does not know for a pickle, and advises to load it
            reason = "no array of numbers is in it"
        raise UnstorableTokens(f"{file.name} cannot be read: {reason}") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
        raise UnstorableTokens(f"{file.name} holds {getattr(array, 'dtype', 'no array')}, not floats")
    shape = array.shape if array.ndim == 2 else (1, *array.shape)
    if len(shape) != 2 or not all(shape):
        raise UnstorableTokens(f"{file.name} has shape {array.shape}; expected (T, D)")
    return shape, array.dtype


def _fingerprint(about: dict[str, Any], modality: str, scan: _Scan) -> Fingerprint:
    """The one an export took along, else one of the files' own bytes."""
    saved = about.get("fingerprints", {}).get(modality) if isinstance(about.get("fingerprints"), dict) else None
    if saved is not None:
        try:
            return Fingerprint.from_attributes({"fingerprint": saved})
        except (StoreError, TypeError) as error:
            raise ConfigError(f"the fingerprint of {modality} in {_ABOUT} is not whole: {error}") from error
    digest = hashlib.sha256()
    for row in sorted(scan.shapes):
        digest.update(json.dumps([scan.ids[row], scan.shapes[row]]).encode())
        with open(scan.files[row], "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return Fingerprint("npy", "import", digest.hexdigest(), {}, None, 0)


def _source(modality: str, scan: _Scan, fingerprint: Fingerprint, dtype: str | None) -> TokenSource:
    lengths = [tokens for tokens, _ in scan.shapes.values()]
    longest = max(lengths, default=1)
    varies = len(set(lengths)) > 1
    status = np.full(len(scan.ids), Presence.MISSING, np.uint8)
    status[list(scan.files)] = Presence.FAILED
    status[list(scan.shapes)] = Presence.CACHED

    def read(row: int) -> tuple[NDArray[np.floating], NDArray[np.integer] | None]:
        _header(scan.files[row])  # it may have changed since
        tokens = np.load(scan.files[row], allow_pickle=False).reshape(1, -1, scan.width)
        return tokens, np.array([tokens.shape[1]], np.int32) if varies else None

    return TokenSource(
        modality=modality,
        fingerprint=fingerprint,
        shape=(1, longest, scan.width),
        dtype=check_dtype(dtype, scan.dtype),
        variable_length=varies,
        status=status,
        read=read,
        ids=scan.ids,
        reasons=scan.reasons,
    )
