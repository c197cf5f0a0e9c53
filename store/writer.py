"""Write a store: make it, add a token array, commit shards.

Order of writes, so that a kill at any moment loses one shard's work and nothing else:
a shard's tokens, then its lengths, then what went wrong in it, and last its presence. A shard whose presence
says TO_DO is simply done again, and gives the same bytes.
"""

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zarr
from numpy.typing import NDArray

from mmcache.store import layout
from mmcache.store.atomic import TEMPORARY_PREFIX, atomic_write, fsync_folder, remove_leftovers
from mmcache.store.errors import StoreError, StoreMismatchError
from mmcache.store.fingerprint import Fingerprint
from mmcache.store.layout import Presence, StoreMeta
from mmcache.store.segments import (
    check_segments,
    read_segments,
    segments_from_bytes,
    segments_to_bytes,
    write_segments,
)
from mmcache.store.shard_file import CRC_BYTES, EMPTY, ShardWriter, crc32c, read_index
from mmcache.store.shards import ShardGrid, rows_per_shard


def create_store(root: Path, segments: pd.DataFrame, meta: StoreMeta) -> None:
    """Make a store of segments, without tokens yet; it appears whole or not at all.

    Raises:
        StoreError: something is already there, or the segments are not sound (see check_segments).
    """
    if root.exists():
        raise StoreError(f"{root} exists already")
    table = check_segments(segments, meta.tasks)
    remove_leftovers(root)  # of a process killed right here
    temporary = root.parent / f"{TEMPORARY_PREFIX}{os.getpid()}-{root.name}"
    temporary.mkdir(parents=True)
    write_segments(temporary / layout.SEGMENTS, table)
    for group in ("tokens", "present"):
        layout.write_group(temporary / group, {})
    layout.write_meta(temporary, meta)
    os.replace(temporary, root)
    fsync_folder(root.parent)


def check_same_segments(root: Path, segments: pd.DataFrame, meta: StoreMeta) -> None:
    """Raise StoreMismatchError, saying what differs, unless the store at `root` was made of these very segments."""
    saved_meta = layout.read_meta(root)
    for field in ("dataset", "tasks", "splits"):
        ours, theirs = getattr(meta, field), getattr(saved_meta, field)
        if ours != theirs:
            shown = f": the store has {theirs}, the annotations give {ours}" if field != "tasks" else ""
            raise StoreMismatchError(
                f"{root} was made from other annotations ({field} differs{shown}). "
                "Write to another store with --store PATH, or remove this one."
            )
    table = segments_from_bytes(segments_to_bytes(check_segments(segments, meta.tasks)))
    if not table.equals(read_segments(root / layout.SEGMENTS)):
        raise StoreMismatchError(
            f"{root} was made from other annotations (some segments differ). "
            "Write to another store with --store PATH, or remove this one."
        )


def add_tokens(
    root: Path,
    modality: str,
    fingerprint: Fingerprint,
    tokens: int,
    width: int,
    *,
    views: int = 1,
    dtype: str = "float16",
    shard_bytes: int = layout.DEFAULT_SHARD_BYTES,
    variable_length: bool = False,
) -> "TokenWriter":
    """Make the arrays for one modality and encoder, or open them when they exist with the same fingerprint.

    Args:
        tokens, width: T and D of the array.
        shard_bytes: about how large a shard file gets; kept as it was when the array exists.

    Raises:
        FingerprintError: the array holds tokens made differently.
        StoreMismatchError: its shape or dtype differs.
        StoreError: a name cannot be a folder.
    """
    layout.check_name("modality", modality)
    layout.check_name("encoder", fingerprint.encoder)
    if dtype not in layout.TOKEN_DTYPES:
        raise StoreError(f"tokens are stored as {' or '.join(layout.TOKEN_DTYPES)}, not {dtype}")
    encoder = fingerprint.encoder
    n_rows = len(read_segments(root / layout.SEGMENTS))
    shape = (n_rows, views, tokens, width)
    path = root / "tokens" / modality / encoder
    if not (path / "zarr.json").exists():
        rows = rows_per_shard(views * layout.token_bytes(tokens, width, dtype), n_rows, shard_bytes)
        _make_arrays(root, modality, fingerprint, shape, dtype, rows, variable_length)
    writer = TokenWriter(root, modality, encoder)
    fingerprint.check_same(writer.fingerprint, path)
    if variable_length != writer.has_lengths:
        made, here = ("varying lengths", "one length") if writer.has_lengths else ("one length", "varying lengths")
        raise StoreMismatchError(
            f"{path} was made for segments of {made}; these have {here}. Use another store with --store PATH."
        )
    if (writer.shape, writer.dtype) != (shape, np.dtype(dtype)):
        raise StoreMismatchError(
            f"{path} holds {writer.dtype} tokens of shape {writer.shape}; this run makes {dtype} {shape}. "
            "Use the same settings, or another store with --store PATH."
        )
    return writer


def _make_arrays(
    root: Path,
    modality: str,
    fingerprint: Fingerprint,
    shape: tuple[int, int, int, int],
    dtype: str,
    rows: int,
    variable_length: bool,
) -> None:
    """Lay the tokens' zarr.json last: where it stands, everything beside it stands too."""
    encoder = fingerprint.encoder
    for kind in ("tokens", "present", "length"):  # what may be left of an array removed by hand
        shutil.rmtree(root / kind / modality / encoder, ignore_errors=True)
    for group in ("tokens", "present", *(["length"] if variable_length else [])):
        layout.ensure_group(root / group)
        layout.ensure_group(root / group / modality)
    if variable_length:
        layout.write_plain_array(
            root / "length" / modality / encoder, shape[:2], "int32", (rows, shape[1]), fill_value=0
        )
    layout.write_plain_array(
        root / "present" / modality / encoder, shape[:1], "uint8", (rows,), fill_value=Presence.TO_DO
    )
    group_path = root / "tokens" / modality
    encoders = layout.read_attributes(group_path).get("encoders", [])
    layout.write_group(group_path, {"encoders": [*encoders, *([encoder] if encoder not in encoders else [])]})
    layout.write_sharded_array(group_path / encoder, shape, dtype, rows, fingerprint.to_attributes())


class TokenWriter:
    """Commits the shards of one existing token array. Picklable: workers make their own from (root, names)."""

    def __init__(self, root: Path, modality: str, encoder: str) -> None:
        self.root, self.modality, self.encoder = root, modality, encoder
        self.path = root / "tokens" / modality / encoder
        array = zarr.open_array(self.path, mode="r")
        self.shape: tuple[int, int, int, int] = tuple(array.shape)  # type: ignore[assignment]
        self.dtype = np.dtype(array.dtype)
        assert array.shards is not None
        self.grid = ShardGrid(self.shape[0], array.shards[0], self.shape[1])
        self.fingerprint = Fingerprint.from_attributes(dict(array.attrs))
        self.has_lengths = (root / "length" / modality / encoder / "zarr.json").exists()

    def presence(self) -> NDArray[np.uint8]:
        """(N,) Presence values, as committed so far. Raises StoreError when they cannot be read."""
        return read_small_array(self.root / "present" / self.modality / self.encoder)

    def shard(self, shard: int) -> "ShardCommit":
        """Begin one shard; what was cached of it before is kept unless it is put again."""
        return ShardCommit(self, shard)


class ShardCommit:
    """One shard on its way to disk. Put its rows in ascending order, then commit; or abort."""

    def __init__(self, array: TokenWriter, shard: int) -> None:
        self._array = array
        self.shard = shard
        self.rows = array.grid.rows(shard)
        self._status = array.presence()[self.rows.start : self.rows.stop].copy()
        self._lengths = self._old_lengths()
        self._reports: dict[str, list[dict[str, Any]]] = {layout.FAILURES: [], layout.NOTES: []}
        path = array.path / "c" / str(shard) / "0" / "0" / "0"
        self._old_index = read_index(path, array.grid.slots_per_shard)
        self._old_file = open(path, "rb") if self._old_index is not None else None  # noqa: SIM115
        chunk_bytes = layout.token_bytes(array.shape[2], array.shape[3], array.dtype.name)
        self._writer = ShardWriter(path, array.grid.slots_per_shard, chunk_bytes)
        self._next = self.rows.start  # rows before this one are settled

    def _old_lengths(self) -> NDArray[np.int32] | None:
        if not self._array.has_lengths:
            return None
        lengths = read_small_array(self._array.root / "length" / self._array.modality / self._array.encoder)
        return lengths[self.rows.start : self.rows.stop].copy()

    def put(self, row: int, tokens: NDArray[np.floating], lengths: NDArray[np.integer] | None = None) -> None:
        """Cache `row`: tokens (V, T, D), already of the array's dtype, and (V,) lengths where they vary."""
        self._begin(row)
        for view in range(self._array.grid.n_views):
            self._writer.put((row - self.rows.start) * self._array.grid.n_views + view, tokens[view])
        if self._lengths is not None:
            assert lengths is not None, "this array has varying token counts: lengths are needed"
            self._lengths[row - self.rows.start] = lengths
        self._settle(row, Presence.CACHED)

    def missing(self, row: int) -> None:
        """There is no media for `row`."""
        self._begin(row)
        self._settle(row, Presence.MISSING)

    def failed(self, row: int) -> None:
        """The media of `row` could not be used."""
        self._begin(row)
        self._settle(row, Presence.FAILED)

    def report(self, segment_id: str, status: Presence, reason: str) -> None:
        """Have a line in failures.jsonl when the segment FAILED, else in notes.jsonl."""
        line = {
            "id": segment_id,
            "modality": self._array.modality,
            "encoder": self._array.encoder,
            "reason": reason,
        }
        if status == Presence.FAILED:
            self._reports[layout.FAILURES].append(line)
        else:
            self._reports[layout.NOTES].append({**line, "present": int(status)})

    def commit(self) -> None:
        """Write tokens, lengths, reports and, last, presence."""
        self._keep_up_to(self.rows.stop)
        self._writer.commit()
        array, root = self._array, self._array.root
        if self._lengths is not None:
            padded = np.zeros((array.grid.rows_per_shard, array.grid.n_views), "<i4")
            padded[: len(self.rows)] = self._lengths
            write_chunk(root / "length" / array.modality / array.encoder / "c" / str(self.shard) / "0", padded)
        work = root / layout.WORK / array.modality / array.encoder
        work.mkdir(parents=True, exist_ok=True)  # says that reports are to be finished, if there are none too
        for file, lines in self._reports.items():
            if lines:
                atomic_write(work / f"{self.shard}-{file}", _json_lines(lines))
        padded_status = np.full(array.grid.rows_per_shard, Presence.TO_DO, np.uint8)
        padded_status[: len(self.rows)] = self._status
        write_chunk(root / "present" / array.modality / array.encoder / "c" / str(self.shard), padded_status)
        self._close_old()

    def abort(self) -> None:
        """Leave the shard as it was."""
        self._writer.abort()
        self._close_old()

    def _settle(self, row: int, status: Presence) -> None:
        self._status[row - self.rows.start] = status
        self._next = row + 1

    def _begin(self, row: int) -> None:
        if not self._next <= row < self.rows.stop:
            raise ValueError(f"rows of shard {self.shard} must ascend within {self.rows}: got {row}")
        self._keep_up_to(row)

    def _keep_up_to(self, row: int) -> None:
        """Copy the chunks of rows before `row` that were cached earlier and are not put again."""
        views = self._array.grid.n_views
        for kept in range(self._next, row):
            if self._status[kept - self.rows.start] != Presence.CACHED:
                continue
            for slot in range((kept - self.rows.start) * views, (kept - self.rows.start + 1) * views):
                self._writer.put(slot, self._old_chunk(slot))
        self._next = row

    def _old_chunk(self, slot: int) -> bytes:
        if self._old_index is None or self._old_file is None or self._old_index[slot, 0] == EMPTY:
            raise StoreError(
                f"shard {self.shard} of {self._array.path} lacks tokens that its presence claims; "
                "run `mmcache store verify` on this store"
            )
        offset, size = self._old_index[slot].tolist()
        self._old_file.seek(offset)
        raw = self._old_file.read(size)
        if crc32c(raw[:-CRC_BYTES]) != raw[-CRC_BYTES:]:
            raise StoreError(
                f"shard {self.shard} of {self._array.path} has a damaged chunk; run `mmcache store verify`"
            )
        return raw[:-CRC_BYTES]

    def _close_old(self) -> None:
        if self._old_file is not None:
            self._old_file.close()


def write_chunk(path: Path, data: NDArray[Any]) -> None:
    """One chunk of a plain array: its bytes and their crc32c."""
    raw = data.tobytes()
    atomic_write(path, raw + crc32c(raw))


def _json_lines(lines: Iterable[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def finish_reports(root: Path) -> None:
    """Merge what workers reported into failures.jsonl and notes.jsonl, and bring the coverage up to date.

    The files are a function of what is in the store, not of the order in which shards were done: lines are
    sorted by row, and a line whose segment has since been done otherwise goes.
    """
    segments = read_segments(root / layout.SEGMENTS)
    row_of = pd.Series(np.arange(len(segments)), index=segments["id"])
    presence = {
        (modality, encoder): TokenWriter(root, modality, encoder).presence() for modality, encoder in token_arrays(root)
    }
    for file in (layout.FAILURES, layout.NOTES):
        merged: dict[tuple[str, str, str], dict[str, Any]] = {}
        for part in [root / file, *report_parts(root, file)]:
            for line in read_reports(part):
                merged[line["id"], line["modality"], line["encoder"]] = line
        kept = [
            line
            for (segment, modality, encoder), line in merged.items()
            if (modality, encoder) in presence  # an array may have been removed by hand
            and presence[modality, encoder][row_of[segment]] == line.get("present", Presence.FAILED)
        ]
        kept.sort(key=lambda line: (row_of[line["id"]], line["modality"], line["encoder"]))
        if not kept:
            (root / file).unlink(missing_ok=True)
        elif kept != read_reports(root / file):
            atomic_write(root / file, _json_lines(kept))
    shutil.rmtree(root / layout.WORK, ignore_errors=True)
    _update_coverage(root, segments, presence)


def _update_coverage(root: Path, segments: pd.DataFrame, presence: dict[tuple[str, str], NDArray[np.uint8]]) -> None:
    coverage: dict[str, dict[str, dict[str, int]]] = {}
    for split in sorted(segments["split"].unique()):
        rows = (segments["split"] == split).to_numpy()
        for (modality, encoder), status in presence.items():
            cached = int(((status == Presence.CACHED) & rows).sum())
            coverage.setdefault(split, {}).setdefault(modality, {})[encoder] = cached
    meta = layout.read_meta(root)
    if meta.coverage != coverage:
        layout.write_meta(root, StoreMeta(**{**vars(meta), "coverage": coverage}))


def report_parts(root: Path, file: str) -> list[Path]:
    """What workers reported since the reports were last finished, as whole files in a fixed order."""
    parts = (root / layout.WORK).rglob(f"*-{file}")
    return sorted(part for part in parts if not part.name.startswith(TEMPORARY_PREFIX))


def read_reports(path: Path) -> list[dict[str, Any]]:
    """The lines of failures.jsonl or notes.jsonl; none when there is no such file. Raises StoreError when damaged."""
    if not path.exists():
        return []
    try:
        lines = [json.loads(line) for line in path.read_bytes().decode().split("\n") if line]
        if not all({"id", "modality", "encoder", "reason"} <= set(line) for line in lines):
            raise ValueError("a line lacks id, modality, encoder or reason")
    except (ValueError, TypeError) as error:
        raise StoreError(f"{path} cannot be read ({error}); the store is damaged there") from error
    return lines


def read_small_array(path: Path) -> NDArray[Any]:
    """All of a presence or length array. Raises StoreError when it is missing or damaged."""
    if not (path / "zarr.json").exists():
        raise StoreError(f"{path} is missing; the store is damaged there")
    try:
        return np.asarray(zarr.open_array(path, mode="r")[:])
    except Exception as error:  # zarr raises many kinds here; all mean the same to a user
        raise StoreError(f"{path} cannot be read ({error}); the store is damaged there") from error


def token_arrays(root: Path) -> list[tuple[str, str]]:
    """(modality, encoder) of every token array, modalities sorted, encoders in the order they were added."""
    found = []
    tokens = root / "tokens"
    # A folder without zarr.json is no group: a run was killed before it became one.
    for group in sorted(path.parent for path in tokens.glob("*/zarr.json")):
        for encoder in layout.read_attributes(group).get("encoders", []):
            if (group / encoder / "zarr.json").exists():
                found.append((group.name, encoder))
    return found
