"""Write one shard: its tokens, lengths and rounding errors, then its reports, and last its presence.

In this order a kill at any moment loses the work on one shard and nothing else: a shard whose presence says TO_DO is
done again, and gets the same bytes.
"""

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mmcache.store.files.atomic import atomic_write, reference_copy
from mmcache.store.format import layout
from mmcache.store.format.layout import Presence
from mmcache.store.format.reports import REPORTS, json_lines, read_reports
from mmcache.store.format.shard_file import CRC_BYTES, EMPTY, ShardWriter, crc32c, read_index
from mmcache.store.format.small_array import read_small_array, write_chunk
from mmcache.store.ground.errors import StoreError
from mmcache.store.write.token_writer import TokenWriter


class ShardCommit:
    """Settle a shard's rows in ascending order; rows that are passed over stay as they were.

        with ShardCommit(writer, shard) as commit:
            commit.put(row, tokens)
            commit.failed(next_row)

    The end of the block commits. An exception in the block, or while committing, leaves the shard as it was.
    """

    def __init__(self, array: TokenWriter, shard: int) -> None:
        self._array = array
        self.shard = shard
        self.rows = array.grid.rows(shard)
        self._status = array.presence()[self.rows.start : self.rows.stop].copy()
        self._side_values = {
            kind: read_small_array(array.root / kind / array.name, kind)[self.rows.start : self.rows.stop].copy()
            for kind in array.side_arrays
        }
        self._reports: dict[str, list[dict[str, Any]]] = {file: [] for file in REPORTS}
        slots = array.grid.slots_per_shard
        paths = {kind: array.shard_path(kind, shard) for kind in array.sharded}
        self._old: dict[str, OldShard] = {}
        self._writers: dict[str, ShardWriter] = {}
        try:
            for kind, path in paths.items():
                self._old[kind] = OldShard(path, slots)
                self._writers[kind] = ShardWriter(path, slots)
        except BaseException:
            self.abort()
            raise
        self._next = self.rows.start  # rows before this one are settled
        self._adopted: dict[str, Path] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self.abort()
            return
        try:
            self.commit()
        except BaseException:
            self.abort()
            raise

    def put(self, row: int, tokens: NDArray[np.floating], lengths: NDArray[np.integer] | None = None) -> None:
        """Cache `row`: tokens (V, n, D) of any float dtype, and (V,) lengths when lengths vary.

        Raises UnstorableTokens, before anything is written, when the array cannot hold them; see
        TokenWriter.store_form.
        """
        stored = self._array.store_form(tokens, lengths)
        self.put_stored(
            row, {kind: [view.tobytes() for view in views] for kind, views in stored.chunks.items()}, stored.side_values
        )

    @property
    def is_adopted(self) -> bool:
        return bool(self._adopted)

    def adopt(self, files: dict[str, Path]) -> None:
        """Use whole shard files, kind -> file, of another array with the same dtype and grid.

        Afterwards, put_stored settles their rows without chunks. No row of this shard may be cached before.
        """
        assert not (self._status == Presence.CACHED).any(), "an adopted shard would replace what is cached"
        self._adopted = files

    def put_stored(self, row: int, chunks: dict[str, list[bytes]], side_values: dict[str, NDArray[Any]]) -> None:
        """Cache `row` in stored form.

        Args:
            chunks: kind (tokens, scale) -> V raw chunks without checksums.
            side_values: kind (length, error) -> (V,) values.
        """
        self._begin(row)
        place, views = row - self.rows.start, self._array.grid.n_views
        for kind, raw in chunks.items():
            for view in range(views):
                self._writers[kind].put(place * views + view, raw[view])
        for kind, values in side_values.items():
            self._side_values[kind][place] = values
        self._settle(row, Presence.CACHED)

    def missing(self, row: int) -> None:
        """Mark `row` as MISSING: there is no media for it."""
        self._clear(row, Presence.MISSING)

    def failed(self, row: int) -> None:
        """Mark `row` as FAILED: its media cannot be used."""
        self._clear(row, Presence.FAILED)

    def to_do(self, row: int) -> None:
        """Mark `row` as TO_DO and drop its tokens, so that it is done again."""
        self._clear(row, Presence.TO_DO)

    def report(self, segment_id: str, status: Presence, reason: str) -> None:
        """Add a line to failures.jsonl when the segment FAILED, else to notes.jsonl."""
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

    def source(self, segment_id: str, status: Presence, size: int, mtime_ns: int) -> None:
        """Add a line to sources.jsonl: the size of the segment's media in bytes, and when they were last changed."""
        line = {"id": segment_id, "modality": self._array.modality, "encoder": self._array.encoder}
        self._reports[layout.SOURCES].append({**line, "bytes": size, "mtime_ns": mtime_ns, "present": int(status)})

    def commit(self) -> None:
        """Write tokens, lengths and rounding errors, reports and, last, presence."""
        if not self._adopted:
            self._keep_up_to(self.rows.stop)
        array, root = self._array, self._array.root
        for kind, writer in self._writers.items():
            if kind in self._adopted:
                writer.abort()
                reference_copy(self._adopted[kind], writer.path)
            else:
                writer.commit()
        for kind, values in self._side_values.items():
            shape = (array.grid.rows_per_shard, array.grid.n_views)
            padded = np.full(shape, layout.SIDE_ARRAYS[kind].fill_value, values.dtype)
            padded[: len(self.rows)] = values
            write_chunk(root / kind / array.name / "c" / str(self.shard) / "0", padded)
        work = root / layout.WORK / array.modality / array.encoder
        work.mkdir(parents=True, exist_ok=True)  # an empty folder too makes finish_reports update the coverage
        for file, lines in self._reports.items():
            if lines:
                part = work / f"{self.shard}-{file}"
                # Lines that an earlier commit of this shard left for other rows are still to be merged.
                atomic_write(part, json_lines([*read_reports(part), *lines]))
        padded_status = np.full(array.grid.rows_per_shard, Presence.TO_DO, np.uint8)
        padded_status[: len(self.rows)] = self._status
        write_chunk(root / "present" / array.name / "c" / str(self.shard), padded_status)
        self._close()

    def abort(self) -> None:
        """Leave the shard as it was."""
        for writer in self._writers.values():
            writer.abort()
        self._close()

    def _clear(self, row: int, status: Presence) -> None:
        self._begin(row)
        for kind, values in self._side_values.items():
            values[row - self.rows.start] = layout.SIDE_ARRAYS[kind].fill_value
        self._settle(row, status)

    def _settle(self, row: int, status: Presence) -> None:
        self._status[row - self.rows.start] = status
        self._next = row + 1

    def _begin(self, row: int) -> None:
        if not self._next <= row < self.rows.stop:
            raise ValueError(f"rows of shard {self.shard} must ascend within {self.rows}: got {row}")
        if not self._adopted:
            self._keep_up_to(row)

    def _keep_up_to(self, row: int) -> None:
        """Copy the cached chunks of the rows before `row` that this commit passes over."""
        views = self._array.grid.n_views
        for kept in range(self._next, row):
            if self._status[kept - self.rows.start] != Presence.CACHED:
                continue
            for slot in range((kept - self.rows.start) * views, (kept - self.rows.start + 1) * views):
                for kind, writer in self._writers.items():
                    writer.put(slot, self._old[kind].chunk(slot, self._array.path))
        self._next = row

    def _close(self) -> None:
        for old in self._old.values():
            old.close()


class OldShard:
    """An existing shard file, read chunk by chunk. Raises StoreError when its index is damaged."""

    def __init__(self, path: Path, n_slots: int) -> None:
        self.path = path
        self.index = read_index(path, n_slots)
        self._file = open(path, "rb") if self.index is not None else None  # noqa: SIM115 - closed by close

    def raw(self, slot: int) -> bytes | None:
        """The chunk of `slot` with its checksum, or None when there is none."""
        if self.index is None or self._file is None or self.index[slot, 0] == EMPTY:
            return None
        offset, size = self.index[slot].tolist()
        self._file.seek(offset)
        return self._file.read(size)

    def chunk(self, slot: int, array: Path) -> bytes:
        """The chunk of `slot` without its checksum. Raises StoreError when it is absent or fails the checksum."""
        raw = self.raw(slot)
        advice = f"run `mmcache store verify --repair` on the store of {array}"
        if raw is None:
            raise StoreError(f"{self.path} lacks tokens that presence lists as cached; {advice}")
        if crc32c(raw[:-CRC_BYTES]) != raw[-CRC_BYTES:]:
            raise StoreError(f"{self.path} has a damaged chunk; {advice}")
        return raw[:-CRC_BYTES]

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
