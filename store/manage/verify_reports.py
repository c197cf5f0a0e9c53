"""Verify failures.jsonl, the coverage in the root and cached teacher logits against the arrays."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from mmcache.store.format import layout
from mmcache.store.format.array_metadata import read_array
from mmcache.store.format.layout import Presence, StoreMeta
from mmcache.store.format.reports import REPORTS, counted_coverage, read_reports, report_parts
from mmcache.store.format.shard_file import CRC_BYTES
from mmcache.store.format.small_array import chunk_is_sound
from mmcache.store.format.teacher_logits import subset_names
from mmcache.store.ground.errors import StoreError
from mmcache.store.manage.findings import Finding, RepairAction
from mmcache.store.manage.verify_tokens import UNKNOWN, TokenSetCheck

_MOST_MODALITIES = 20  # of a teacher


def verify_reports(root: Path) -> list[Finding]:
    """Verify that each report can be read, and the lines of workers that are still to be merged."""
    findings = []
    for file in REPORTS:
        try:
            for path in (root / file, *report_parts(root, file)):
                read_reports(path)
        except StoreError as error:
            findings.append(Finding(file, (), str(error), RepairAction.COPY, file))
    return findings


def verify_failures(root: Path, ids: list[str], checks: list[TokenSetCheck], unread: set[str]) -> list[Finding]:
    """Verify that failures.jsonl has one line for every FAILED segment and no other, unless a run is active.

    Args:
        unread: modalities that cannot be verified, because their metadata is damaged.
    """
    try:
        said = {(line["modality"], line["encoder"], line["id"]) for line in read_reports(root / layout.FAILURES)}
        parts = [line for part in report_parts(root, layout.FAILURES) for line in read_reports(part)]
    except StoreError:
        return []  # reported by verify_reports
    under_way = {(line["modality"], line["encoder"], line["id"]) for line in parts}
    row_of = {segment: row for row, segment in enumerate(ids)}
    known = [check for check in checks if check.tokens is not None]
    found = {
        (check.modality, check.encoder, ids[row])
        for check in known
        for row in np.flatnonzero(check.status == Presence.FAILED)
    }
    unknown = {
        (check.modality, check.encoder, ids[row]) for check in checks for row in np.flatnonzero(check.status == UNKNOWN)
    }
    # Before finish_reports, the file may list segments that were done again with another result.
    outdated = set() if (root / layout.WORK).exists() else said - found - unknown
    outdated = {key for key in outdated if key[0] not in unread}
    findings = []
    for lacking, keys in ((True, found - said - under_way), (False, outdated)):
        for modality, encoder, segment in sorted(keys):
            problem = f"{modality}/{encoder} {'is not' if lacking else 'is'} listed as failed"
            rows = (row_of[segment],) if segment in row_of else ()
            action = RepairAction.ROWS if lacking else RepairAction.COPY
            findings.append(Finding(layout.FAILURES, (segment,), problem, action, f"{modality}/{encoder}", rows))
    return findings


def verify_coverage(root: Path, meta: StoreMeta, segments: pd.DataFrame, checks: list[TokenSetCheck]) -> list[Finding]:
    """Verify that the root's coverage agrees with presence; stores at addresses are listed from it."""
    if (root / layout.WORK).exists() or any((check.status == UNKNOWN).any() for check in checks):
        return []  # finish_reports counts it
    presence = {(check.modality, check.encoder): check.status for check in checks}
    said, counted = _flat(meta.coverage), _flat(counted_coverage(segments, presence))
    if said == counted:
        return []
    split, modality, encoder = sorted(key for key in {*said, *counted} if said.get(key) != counted.get(key))[0]
    key = (split, modality, encoder)
    problem = (
        f"coverage says {said.get(key, 0)} segments of {modality}/{encoder} in '{split}'; {counted.get(key, 0)} are"
    )
    return [Finding("zarr.json", (), f"{problem} cached", RepairAction.COUNT)]


def _flat(coverage: dict[str, dict[str, dict[str, int]]]) -> dict[tuple[str, str, str], int]:
    """(split, modality, encoder) -> count, without zeros, which a killed run may not have written."""
    return {
        (split, modality, encoder): count
        for split, modalities in coverage.items()
        for modality, encoders in modalities.items()
        for encoder, count in encoders.items()
        if count
    }


def verify_logits(root: Path, meta: StoreMeta, ids: list[str]) -> Iterator[Finding]:
    """Verify cached teacher logits: shapes, and every chunk against its checksum."""
    for teacher in sorted(document.parent for document in root.glob("logits/*/zarr.json")):
        subsets, problem = _subsets(teacher)
        if problem is not None:
            yield Finding(str(teacher.relative_to(root)), (), problem)
        for path in sorted(document.parent for document in teacher.glob("*/zarr.json")):
            yield from _verify_teacher(root, path, meta, ids, subsets)
    begun = (document.parent for document in root.glob("logits/*/*/zarr.json"))
    for path in sorted(path for path in begun if not (path.parent / "zarr.json").exists()):
        yield from _verify_teacher(root, path, meta, ids, None)


def _subsets(teacher: Path) -> tuple[int | None, str | None]:
    """The number of modality subsets of a teacher, None when unknown; and the fault of its group, or None."""
    try:
        attributes = layout.read_attributes(teacher)
    except StoreError as error:
        return None, str(error)
    modalities, subsets = attributes.get("modalities"), attributes.get("subsets")
    if not isinstance(modalities, list) or not all(isinstance(name, str) for name in modalities):
        return None, "its attribute 'modalities' is no list of names"
    if len(modalities) > _MOST_MODALITIES or subsets != subset_names(modalities):
        return None, "its attribute 'subsets' does not name the subsets of its modalities in their order"
    return len(subsets), None


def _verify_teacher(root: Path, path: Path, meta: StoreMeta, ids: list[str], subsets: int | None) -> Iterator[Finding]:
    where = str(path.relative_to(root))
    try:
        array = read_array(path, "logits")
    except StoreError as error:
        yield Finding(where, (), f"cannot be opened: {error}")
        return
    classes = len(meta.tasks[path.name]) if path.name in meta.tasks else None
    for value, wanted, what in (
        (array.shape[0], len(ids), "segments"),
        (array.shape[2], subsets, "subsets"),
        (array.shape[3], classes, "classes"),
    ):
        if wanted is not None and value != wanted:
            yield Finding(where, (), f"has the shape {array.shape}, but there are {wanted} {what}")
            return
    if not array.is_plain or array.grid[1:] != array.shape[1:]:
        yield Finding(where, (), "is laid out by another program; no teacher logits are read from it")
        return
    for name in sorted(array.files()):
        if not array.has_file(name):
            yield Finding(where, (), f"has the file {name}, which is no chunk of the declared shape")
        elif not chunk_is_sound(path / name) or (path / name).stat().st_size != array.chunk_bytes + CRC_BYTES:
            first = int(Path(name).parts[1]) * array.grid[0]
            segments = tuple(ids[first : first + array.grid[0]])
            yield Finding(where, segments, "teacher logits fail their checksum", RepairAction.REMOVE, f"{where}/{name}")
