"""Import from an HDF5 file, in a format that other tools can write and read.

features/<modality>   (N, T, D)       float16 or float32; attrs: encoder, and the fingerprint where one is known
lengths/<modality>    (N,)            optional
present/<modality>    (N,) 0 or 1     optional, default all 1
labels/<task>         (N,) -1 = none
split                 (N,) strings
ids                   (N,) strings    optional: without them, rows are numbered from 0
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
from numpy.typing import NDArray

from mmcache.store.exchange.hdf5_form import Contents, read_contents
from mmcache.store.exchange.import_summary import ImportSummary, named
from mmcache.store.files.hdf5_reading import UnusableMember, open_hdf5, read_rows, text_attribute
from mmcache.store.format import layout
from mmcache.store.format.fingerprint import Fingerprint
from mmcache.store.format.layout import Presence, StoreMeta
from mmcache.store.format.recommended import recommendations
from mmcache.store.format.reports import finish_reports
from mmcache.store.ground.errors import ConfigError, StoreError, UnstorableTokens
from mmcache.store.ground.lock import writer_lock
from mmcache.store.segments.segment_table import REQUIRED, check_segments
from mmcache.store.segments.splits import choose_eval_split
from mmcache.store.write.create import ensure_store
from mmcache.store.write.token_source import Progress, TokenSource, check_dtype, no_progress, write_source

_BLOCK_BYTES = 16 << 20
_NEVER_WRITTEN = "its tokens were never written to the file: they would read as zeros"


def import_hdf5(
    source: Path,
    root: Path,
    shard_bytes: int = layout.DEFAULT_SHARD_BYTES,
    progress: Progress = no_progress,
    dtype: str | None = None,
) -> ImportSummary:
    """Write the contents of an HDF5 file into the store at `root`, which is created if needed.

    The same call continues an interrupted import. Tokens are stored as `dtype`; None = as the file has them.
    Rows of features that are damaged or were never written become failed segments with a reason.

    Raises:
        ConfigError: the file is not HDF5 or not in the documented format; all faults at once.
        StoreError: `root` holds other segments.
    """
    check_dtype(dtype, "")
    with open_hdf5(source) as file, writer_lock(root):
        contents = read_contents(file, source)
        notes = [] if contents.ids is not None else [f"{source} has no 'ids': its rows are numbered from 0"]
        ids = contents.ids if contents.ids is not None else [str(row) for row in range(contents.n)]
        if contents.unread:
            notes.append(f"not read, because they are not part of the format: {named(contents.unread)}")
        segments, meta = _segments(contents, ids, source, notes)
        check_segments(segments, meta.tasks)  # before anything is written
        sources = []
        for modality in contents.features:
            fingerprint, padded = _fingerprint(contents.features[modality])
            sources.append(_source(contents, modality, fingerprint, ids, dtype))
            if padded and modality not in contents.lengths:
                notes.append(
                    f"{modality}: {padded} of {contents.n} segments end in tokens that are all zero. If these pad "
                    f"shorter segments, say in 'lengths/{modality}' how many tokens are real"
                )
        ensure_store(root, segments, meta)
        arrays = [write_source(root, one, shard_bytes, progress) for one in sources]
        finish_reports(root)
    return ImportSummary(root, arrays, [], notes)


def _segments(contents: Contents, ids: list[str], source: Path, notes: list[str]) -> tuple[pd.DataFrame, StoreMeta]:
    """The segments and metadata; if the file has no spans, each segment is its own one-second video.

    A line in `notes` names ignored recommendations.
    """
    columns = {name: values for name, values in contents.columns.items() if name not in ("id", "split")}
    labels = {task: values.astype(np.int64) for task, values in contents.labels.items()}
    defaults = {"video": ids, "start_s": 0.0, "stop_s": 1.0}
    table = pd.DataFrame({**defaults, "id": ids, "split": contents.split, **columns, **labels})
    tasks = {
        task: contents.classes.get(task) or [str(label) for label in range(int(values.max(initial=-1)) + 1)]
        for task, values in labels.items()
    }
    splits = {str(split): int(count) for split, count in sorted(table["split"].value_counts().items())}
    extras = [column for column in table.columns if column not in REQUIRED and column not in tasks]
    meta = StoreMeta(
        contents.said.get("dataset", source.stem),
        tasks,
        splits,
        choose_eval_split(contents.said.get("eval_split"), splits),
        recommended=_recommended(contents.said.get("recommended", "{}"), source, notes),
    )
    return table[[*REQUIRED, *tasks, *extras]], meta


def _recommended(text: str, source: Path, notes: list[str]) -> dict[str, int | float]:
    """The recommended fuse options that an export writes. Raises ConfigError when they are not a mapping."""
    try:
        saved = json.loads(text)
        if not isinstance(saved, dict):
            raise ValueError("it is no mapping")
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"the 'recommended' attribute of {source} is damaged: {error}") from error
    return recommendations(saved, str(source), notes)


def _fingerprint(features: h5py.Dataset) -> tuple[Fingerprint, int]:
    """The fingerprint in the file, else one made from the tokens; and the number of padded rows, if known."""
    padded = 0
    try:
        saved, encoder = (text_attribute(features, name) for name in ("fingerprint", "encoder"))
        if saved is not None:
            fingerprint = Fingerprint.from_attributes({"fingerprint": json.loads(saved)})
        else:
            digest, padded = _digest(features)
            fingerprint = Fingerprint(encoder or "hdf5", "import", digest, {}, None, 0)
    except UnusableMember as error:
        raise ConfigError(f"'{features.name}' {error}") from error
    except (ValueError, TypeError, RecursionError, StoreError) as error:
        raise ConfigError(f"the 'fingerprint' attribute of '{features.name}' is damaged: {error}") from error
    layout.check_name("encoder", fingerprint.encoder)
    return fingerprint, padded


def _digest(features: h5py.Dataset) -> tuple[str, int]:
    """SHA-256 of the tokens, and how many rows end in a zero token after others; unreadable rows count as such."""
    digest, padded = hashlib.sha256(), 0
    rows = max(1, _BLOCK_BYTES // features.dtype.itemsize // (features.shape[1] * features.shape[2]))
    for start in range(0, len(features), rows):
        for block in _readable(features, range(start, min(start + rows, len(features)))):
            digest.update(np.ascontiguousarray(block).data if isinstance(block, np.ndarray) else block)
            if isinstance(block, np.ndarray):
                padded += int((block.any(axis=(1, 2)) & ~block[:, -1].any(axis=1)).sum())
    return digest.hexdigest(), padded


def _readable(features: h5py.Dataset, rows: range) -> list[NDArray[Any] | bytes]:
    """Some rows, read as one block; if that fails, row by row, with the reason for each row that cannot be read."""
    try:
        return [read_rows(features, slice(rows.start, rows.stop))]
    except UnusableMember as error:
        if len(rows) == 1:
            return [str(error).encode()]
        return [part for row in rows for part in _readable(features, range(row, row + 1))]


def _source(
    contents: Contents, modality: str, fingerprint: Fingerprint, ids: list[str], dtype: str | None
) -> TokenSource:
    features = contents.features[modality]
    n, tokens, width = features.shape
    lengths = contents.lengths.get(modality)
    status = np.where(contents.present.get(modality, np.ones(n)) == 1, Presence.CACHED, Presence.MISSING)
    unwritten = (status == Presence.CACHED) & ~contents.written[modality]
    status[unwritten] = Presence.FAILED

    def read(row: int) -> tuple[NDArray[np.floating], NDArray[np.integer] | None]:
        try:
            return read_rows(features, slice(row, row + 1)), None if lengths is None else lengths[row : row + 1]
        except UnusableMember as error:
            raise UnstorableTokens(f"its tokens: the row {error}") from error

    return TokenSource(
        modality=modality,
        fingerprint=fingerprint,
        shape=(1, tokens, width),
        dtype=check_dtype(dtype, features.dtype.name),
        variable_length=lengths is not None,
        status=status.astype(np.uint8),
        read=read,
        ids=ids,
        reasons={ids[row]: _NEVER_WRITTEN for row in np.flatnonzero(unwritten)},
    )
