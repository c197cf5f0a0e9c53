"""Import from a folder of .npy files, one per segment and modality, a format of many feature releases.

FOLDER/segments.csv             split, labels; optional id, video, start_s, stop_s and further columns
FOLDER/<modality>/<id>.npy      (T, D) floats, or (D,) for one token; export percent-encodes ids
FOLDER/classes/<task>.txt       optional: one class name a line, line i = label i
FOLDER/mmcache.json             optional, written by export: dataset, eval_split, recommended settings, fingerprints

A segment without a file lacks that modality. Segments may have different T; all of a modality have the same D. Without
the column id, rows are numbered from 0 or from 1, and the file names are these numbers.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcache.store.exchange.import_summary import ImportSummary, named
from mmcache.store.exchange.npy_files import Scan, read_tokens, scan
from mmcache.store.exchange.npy_form import ABOUT, SEE_FORM, TABLE, read_about
from mmcache.store.exchange.npy_matching import (
    ModalityFolder,
    find_modalities,
    match_ids,
    match_numbers,
    unmatched_note,
)
from mmcache.store.exchange.npy_table import make_segments, read_table
from mmcache.store.format import layout
from mmcache.store.format.fingerprint import Fingerprint
from mmcache.store.format.layout import Presence
from mmcache.store.format.reports import finish_reports
from mmcache.store.ground.errors import ConfigError, Problems, StoreError, TooManyFailures
from mmcache.store.ground.lock import writer_lock
from mmcache.store.write.create import ensure_store
from mmcache.store.write.token_source import Progress, TokenSource, check_dtype, no_progress, write_source


def import_npy(
    folder: Path,
    root: Path,
    shard_bytes: int = layout.DEFAULT_SHARD_BYTES,
    progress: Progress = no_progress,
    dtype: str | None = None,
    tasks: list[str] | None = None,
) -> ImportSummary:
    """Write the contents of such a folder into the store at `root`, which is created if needed.

    The same call continues an interrupted import. As in extract, a file that cannot be used becomes a failed segment
    with a reason.

    Args:
        dtype: how tokens are stored; None = float16 where all files of a modality are, else float32.
        tasks: the columns that are labels; None = those with a classes file, or else all columns that are not
            id, video, start_s, stop_s, split, other times or another division.

    Raises:
        ConfigError: the folder does not have the documented format; all faults at once.
        TooManyFailures: no file belongs to a segment.
        StoreError: `root` holds other segments.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder")
    check_dtype(dtype, "")
    about = read_about(folder)
    table = read_table(folder, "columns" in about)
    folders = _modalities(folder)
    notes = _passed_over(folders)
    folders = {modality: found for modality, found in folders.items() if found.arrays}
    if "id" in table:
        ids = table["id"].tolist()
        matched = {modality: match_ids(found.arrays, ids, "columns" in about) for modality, found in folders.items()}
    else:
        first, matched = match_numbers(folders, len(table))
        ids = [str(first + row) for row in range(len(table))]
        table = table.assign(id=ids)
        numbered = f"{TABLE} has no column 'id': rows are counted from {first}, and files belong to them by number"
        notes = [numbered, *notes]
    segments, meta, said = make_segments(folder, table, about, tasks)
    notes += said
    unmatched = [unmatched_note(m, found, set(matched[m].values()), ids) for m, found in folders.items()]
    notes += filter(None, unmatched)
    if not any(matched.values()):
        raise TooManyFailures("nothing was imported. " + " ".join(filter(None, unmatched)))
    scans = {
        modality: scan({row: folders[modality].path / name for row, name in sorted(names.items())}, ids)
        for modality, names in matched.items()
        if names
    }
    fingerprints = {modality: _fingerprint(about, modality, found) for modality, found in scans.items()}
    with writer_lock(root):
        ensure_store(root, segments, meta)
        arrays = [
            write_source(root, _source(modality, found, fingerprints[modality], dtype), shard_bytes, progress)
            for modality, found in scans.items()
        ]
        finish_reports(root)
    return ImportSummary(root, arrays, [m for m in folders if not matched[m]], notes)


def _modalities(folder: Path) -> dict[str, ModalityFolder]:
    """Modality -> its folder. Raises ConfigError when none has files, or a folder name cannot name a modality."""
    folders = find_modalities(folder)
    problems = Problems()
    if not any(found.arrays for found in folders.values()):
        passed = _passed_over(folders)
        there = f"; skipped: {'; '.join(passed)}" if passed else ""
        problems.add(f"{folder} has no folder of .npy files{there}; {SEE_FORM}")
    for modality, found in folders.items():
        if found.arrays:
            try:
                layout.check_name("modality", modality)
            except StoreError as error:
                problems.add(str(error))
    problems.raise_if_any()
    return folders


def _passed_over(folders: dict[str, ModalityFolder]) -> list[str]:
    """Notes on names in the modalities' folders that do not end in .npy."""
    notes = []
    for modality, found in folders.items():
        if found.others:
            count = "no .npy file is in it" if not found.arrays else f"{len(found.others)} names end in something else"
            notes.append(f"folder '{modality}': {count}, and these are skipped: {named(found.others)}")
    return notes


def _fingerprint(about: dict[str, Any], modality: str, found: Scan) -> Fingerprint:
    """The fingerprint in mmcache.json, else one made from the bytes of the files."""
    saved = about.get("fingerprints", {}).get(modality)
    if saved is None:
        return Fingerprint("npy", "import", found.digest(), {}, None, 0)
    try:
        fingerprint = Fingerprint.from_attributes({"fingerprint": saved})
    except (StoreError, TypeError) as error:
        raise ConfigError(f"the fingerprint of {modality} in {ABOUT} is incomplete: {error}") from error
    layout.check_name("encoder", fingerprint.encoder)
    return fingerprint


def _source(modality: str, found: Scan, fingerprint: Fingerprint, dtype: str | None) -> TokenSource:
    lengths = [tokens for tokens, _ in found.shapes.values()]
    longest = max(lengths, default=1)
    varies = len(set(lengths)) > 1
    status = np.full(len(found.ids), Presence.MISSING, np.uint8)
    status[list(found.files)] = Presence.FAILED
    status[list(found.shapes)] = Presence.CACHED

    def read(row: int) -> tuple[NDArray[np.floating], NDArray[np.integer] | None]:
        tokens = read_tokens(found.files[row], found.shapes[row])[None]
        return tokens, np.array([tokens.shape[1]], np.int32) if varies else None

    return TokenSource(
        modality=modality,
        fingerprint=fingerprint,
        shape=(1, longest, found.width),
        dtype=check_dtype(dtype, found.dtype),
        variable_length=varies,
        status=status,
        read=read,
        ids=found.ids,
        reasons=found.reasons,
    )
