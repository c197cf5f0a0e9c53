"""failures.jsonl, notes.jsonl, sources.jsonl: lines of workers, merged in an order that the store determines."""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmcache.store.files.atomic import TEMPORARY_PREFIX
from mmcache.store.files.sealed import put_file, remove_file, spare_of
from mmcache.store.format import layout
from mmcache.store.format.layout import FAILURES, NOTES, SOURCES, Presence, StoreMeta
from mmcache.store.format.small_array import read_small_array
from mmcache.store.ground.errors import StoreError
from mmcache.store.segments.segment_table import read_segments

REPORTS = (FAILURES, NOTES, SOURCES)
# The fields of every line: strings, and for sources numbers too.
_TEXTS = {file: ("id", "modality", "encoder", *(() if file == SOURCES else ("reason",))) for file in REPORTS}
_NUMBERS = {SOURCES: ("bytes", "mtime_ns", "present")}


def json_lines(lines: Iterable[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def read_reports(path: Path) -> list[dict[str, Any]]:
    """The lines of a report; none when there is no such file. Raises StoreError when damaged."""
    try:
        if not path.exists():
            return []
        lines = [json.loads(line) for line in path.read_bytes().decode().split("\n") if line]
        _check_lines(next((file for file in REPORTS if path.name.endswith(file)), NOTES), lines)
    except Exception as error:  # at an address, file systems raise many kinds besides
        raise _damaged(path, str(error)) from error
    return lines


def _check_lines(file: str, lines: list[Any]) -> None:
    """Raise ValueError unless every line has the fields of its report, with the right types."""
    texts, numbers = _TEXTS[file], _NUMBERS.get(file, ())
    for line in lines:
        sound = (
            isinstance(line, dict)
            and all(isinstance(line.get(key), str) for key in texts)
            and all(type(line.get(key)) is int for key in numbers)
        )
        if not sound:
            raise ValueError(f"a line lacks {', '.join([*texts, *numbers][:-1])} or {[*texts, *numbers][-1]}")


def report_parts(root: Path, file: str) -> list[Path]:
    """The files that workers wrote since the last finish_reports, in a fixed order."""
    parts = (root / layout.WORK).rglob(f"*-{file}")
    return sorted(part for part in parts if not part.name.startswith(TEMPORARY_PREFIX))


def finish_reports(root: Path) -> None:
    """Merge the lines of workers into the reports, and update the root's attributes.

    The files do not depend on the order in which shards were done: lines are sorted by row, and a line is removed when
    its segment was done again with another result.
    """
    meta = layout.read_meta(root)
    for file in REPORTS:
        _check_undamaged(root, file, meta.sha256.get(file))
    segments = read_segments(root / layout.SEGMENTS)
    row_of = pd.Series(np.arange(len(segments)), index=segments["id"])
    presence = {
        (modality, encoder): read_small_array(root / "present" / modality / encoder, "present")
        for modality, encoder in layout.token_arrays(root)
    }
    for file in REPORTS:
        merged: dict[tuple[str, str, str], dict[str, Any]] = {}
        for part in [root / file, *report_parts(root, file)]:
            for line in read_reports(part):
                if line["id"] not in row_of:
                    raise _damaged(part, f"there is no segment '{line['id']}'")
                merged[line["id"], line["modality"], line["encoder"]] = line
        kept = [
            line
            for (segment, modality, encoder), line in merged.items()
            if (modality, encoder) in presence  # an array may have been removed by hand
            and presence[modality, encoder][row_of[segment]] == line.get("present", Presence.FAILED)
        ]
        kept.sort(key=lambda line: (row_of[line["id"]], line["modality"], line["encoder"]))
        if not kept:
            remove_file(root, file)
        elif kept != read_reports(root / file):
            put_file(root, file, json_lines(kept))
    _update_root(root, meta, segments, presence)
    shutil.rmtree(root / layout.WORK, ignore_errors=True)


def _check_undamaged(root: Path, file: str, digest: str | None) -> None:
    """Raise StoreError when a report does not match the digest in the root, unless a killed run wrote it.

    A killed run leaves the report and its spare copy, which is written first, with the same bytes.
    """
    copies = [path.read_bytes() if path.exists() else b"" for path in (root / file, spare_of(root, file))]
    main, spare = (hashlib.sha256(data).hexdigest() for data in copies)
    if main != spare and main != (digest or hashlib.sha256(b"").hexdigest()):
        raise _damaged(root / file, "it fails its checksum")


def _damaged(path: Path, why: str) -> StoreError:
    return StoreError(
        f"{path} cannot be read ({why}); the store is damaged there. `mmcache store verify --repair` repairs it"
    )


def counted_coverage(
    segments: pd.DataFrame, presence: dict[tuple[str, str], NDArray[np.uint8]]
) -> dict[str, dict[str, dict[str, int]]]:
    """Split -> modality -> encoder -> how many segments are cached."""
    coverage: dict[str, dict[str, dict[str, int]]] = {}
    for split in sorted(segments["split"].unique()):
        rows = (segments["split"] == split).to_numpy()
        for (modality, encoder), status in presence.items():
            cached = int(((status == Presence.CACHED) & rows).sum())
            coverage.setdefault(split, {}).setdefault(modality, {})[encoder] = cached
    return coverage


def _update_root(
    root: Path, meta: StoreMeta, segments: pd.DataFrame, presence: dict[tuple[str, str], NDArray[np.uint8]]
) -> None:
    """Write coverage and the digests of the reports to the root."""
    coverage = counted_coverage(segments, presence)
    digests = {
        name: hashlib.sha256((root / name).read_bytes()).hexdigest()
        for name in (layout.SEGMENTS, *REPORTS)
        if (root / name).exists()
    }
    digests[layout.SEGMENTS] = meta.sha256.get(layout.SEGMENTS, digests[layout.SEGMENTS])  # never changes
    updated = dataclasses.replace(meta, coverage=coverage, sha256=digests)
    if meta != updated:
        layout.write_meta(root, updated)
