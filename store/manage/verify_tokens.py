"""Verify one token set: every index, every checksum, presence against chunks, values, lengths."""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcache.store.format import layout
from mmcache.store.format.array_metadata import ArrayMetadata
from mmcache.store.format.layout import Presence
from mmcache.store.format.shard_file import CRC_BYTES, crc32c
from mmcache.store.format.small_array import PRESENCE_VALUES, impossible_values, read_values
from mmcache.store.format.token_set import read_token_set
from mmcache.store.ground.errors import StoreError
from mmcache.store.manage.findings import Finding, RepairAction
from mmcache.store.read.sharded_array import ShardedArray
from mmcache.store.write.shard_commit import OldShard

_WHAT = {"present": "presence", "length": "token counts", "error": "rounding errors"}
UNKNOWN = 255  # a presence that could not be read
_LARGEST_SCALE = (
    1.001 * float(np.finfo(np.float16).max) / 127
)  # tokens are read back as float16; rounding adds to the limit


class TokenSetCheck:
    """The tokens of one modality and encoder, with their scales, presence, lengths and errors.

    Attributes:
        tokens: None when the shards cannot be verified.
        status: (N,) Presence values, UNKNOWN when presence is damaged.
    """

    def __init__(self, root: Path, modality: str, encoder: str, ids: list[str]) -> None:
        self.root, self.modality, self.encoder = root, modality, encoder
        self.name = f"{modality}/{encoder}"
        self.tokens: ShardedArray | None = None
        self.status = np.full(len(ids), UNKNOWN, np.uint8)
        self._scale: ShardedArray | None = None
        self._ids = ids
        self._wrong: dict[str, NDArray[np.bool_]] = {}  # kind -> (N, V), the impossible values
        self._side_values: dict[str, NDArray[Any]] = {}
        self._filled: dict[str, NDArray[np.bool_]] = {}  # what -> (V, T, D), whether any segment has a value there
        self._padding = np.zeros((1, 1), bool)  # (T, 1), the tokens past the end of every segment

    def begin(self) -> Iterator[Finding]:
        """Open everything; check the small arrays."""
        try:
            arrays = read_token_set(self.root, self.modality, self.encoder, len(self._ids))
            if "fingerprint" not in arrays["tokens"].attributes:
                yield Finding(self.name, (), "its attributes lack the fingerprint, which says how the tokens were made")
            self.status = yield from self._small_array(arrays["present"])
            for kind in layout.SIDE_ARRAYS:
                if kind in arrays:
                    self._side_values[kind] = yield from self._small_array(arrays[kind])
                    self._wrong[kind] = impossible_values(kind, self._side_values[kind], arrays["tokens"].shape[2])
        except StoreError as error:
            yield Finding(self.name, (), str(error))
            return
        for array in arrays.values():
            strangers = [name for name in array.files() if not array.has_file(name)]
            if strangers:
                such = f" ({len(strangers)} such)" if len(strangers) > 1 else ""
                problem = f"{array.kind} has the file {strangers[0]}{such}, which is no chunk of the declared shape"
                yield Finding(self.name, (), problem)
        tokens, lengths = arrays["tokens"].shape[2], self._side_values.get("length")
        longest = tokens if lengths is None else lengths[self.status == Presence.CACHED].max(initial=0)
        self._padding = (np.arange(tokens) >= longest)[:, None]
        self.tokens = ShardedArray(arrays["tokens"])
        self._scale = ShardedArray(arrays["scale"]) if "scale" in arrays else None

    def shard(self, shard: int) -> Iterator[Finding]:
        """Check one shard's chunks."""
        assert self.tokens is not None
        rows = self.tokens.grid.rows(shard)
        for array, what in ((self.tokens, "tokens"), (self._scale, "scale")):
            if array is None:
                continue
            if array.is_direct and array.grid == self.tokens.grid:
                yield from self._direct_shard(array, shard, what)
            else:
                yield from self._rows_by_library(array, rows, what)
        for kind, wrong in self._wrong.items():
            for row in rows:
                if self.status[row] == Presence.CACHED and wrong[row].any():
                    yield self._rows([row], self._wrong_value(kind, row), RepairAction.ROWS)

    def end(self) -> Iterator[Finding]:
        """The findings that require all shards."""
        for what, filled in self._filled.items():
            array = self.tokens if what == "tokens" else self._scale
            assert array is not None
            empty = _empty_chunk(filled, array.metadata.chunks[1:])
            if empty is not None and (self.status == Presence.CACHED).any():
                yield Finding(
                    self.name,
                    (),
                    f"the shape {array.shape} claims {what} that no segment has: view, token and column "
                    f"{empty} and their neighbours are {array.metadata.fill_value} in all of them",
                )

    def _small_array(self, array: ArrayMetadata) -> Generator[Finding, None, NDArray[Any]]:
        """Yields a finding for each damaged chunk, whose values are then unknown; returns the values."""
        if not array.is_plain or array.grid[1:] != array.shape[1:]:
            return read_values(array)
        values = np.full(array.shape, array.fill_value, array.dtype)
        for chunk, start in enumerate(range(0, array.shape[0], array.grid[0])):
            file = array.path / "c" / "/".join([str(chunk), *["0"] * (len(array.shape) - 1)])
            rows = range(start, min(start + array.grid[0], array.shape[0]))
            block, problem = _chunk_values(array, file)
            if block is not None:
                values[rows.start : rows.stop] = block[: len(rows)]
            concerned = self._concerned(array.kind, rows, damaged=block is None and file.exists())
            if array.kind == "present" and block is not None:
                wrong = [row for row in rows if values[row] not in PRESENCE_VALUES]
                for row in wrong[:1]:
                    problem = f"says {values[row]} for {self._ids[row]} ({len(wrong)} such), which is no presence value"
                concerned = list(rows)
            if problem is not None and concerned:
                yield self._rows(concerned, f"{_WHAT[array.kind]}: {problem}", RepairAction.CHUNK, file)
                values[rows.start : rows.stop] = UNKNOWN if array.kind == "present" else 1
        return values

    def _concerned(self, kind: str, rows: range, damaged: bool) -> list[int]:
        """The rows that are affected when their chunk is damaged or absent."""
        if damaged:
            return [row for row in rows if kind == "present" or self.status[row] in (Presence.CACHED, UNKNOWN)]
        # An absent chunk of presence means TO_DO.
        return [row for row in rows if kind != "present" and self.status[row] == Presence.CACHED]

    def _direct_shard(self, array: ShardedArray, shard: int, what: str) -> Iterator[Finding]:
        rows, views = array.grid.rows(shard), array.shape[1]
        try:
            old = OldShard(array.shard_path(shard), array.grid.slots_per_shard)
        except StoreError as error:
            lost = [row for row in rows if self.status[row] in (Presence.CACHED, UNKNOWN)]
            yield self._rows(lost, str(error), RepairAction.ROWS, array.shard_path(shard))
            return
        try:
            for row in rows:
                for view in range(views):
                    raw = old.raw((row - rows.start) * views + view)
                    problem = self._contradiction(row, view, raw is not None, what) or _wrong_chunk(raw, array, what)
                    if problem and self.status[row] != Presence.TO_DO:  # a run was killed; the next one does it again
                        yield self._rows([row], problem, RepairAction.ROWS)
        finally:
            old.close()

    def _contradiction(self, row: int, view: int, there: bool, what: str) -> str | None:
        """The contradiction between presence and one chunk, or None."""
        status = int(self.status[row])
        if status == UNKNOWN or there == (status == Presence.CACHED):
            return None
        return f"presence says {Presence(status).name.lower()}, but view {view} has {'' if there else 'no '}{what}"

    def _wrong_value(self, kind: str, row: int) -> str:
        value = self._side_values[kind][row][self._wrong[kind][row]][0]
        if kind == "length":
            assert self.tokens is not None
            return f"length {value} is outside 1..{self.tokens.shape[2]}"
        return f"the rounding error {value} is not between 0 and 1"

    def _rows_by_library(self, array: ShardedArray, rows: range, what: str) -> Iterator[Finding]:
        """Verify an array of another layout through zarr, which reads absent chunks as zeros."""
        filled = self._filled.setdefault(what, np.zeros(array.shape[1:], bool))
        for row in rows:
            for view in range(array.shape[1]):
                try:
                    values = array.read(np.array([row]), view)[0]
                except StoreError as error:  # of any row, because a batch reads it
                    yield self._rows([row], str(error))
                    continue
                if self.status[row] not in (Presence.CACHED, UNKNOWN):
                    continue
                problem = _wrong_values(values, what)
                if problem is not None:
                    yield self._rows([row], problem)
                filled[view] |= (values != array.metadata.fill_value) | self._padding

    def _rows(
        self,
        rows: "range | list[int]",
        problem: str,
        action: RepairAction = RepairAction.NOTHING,
        file: Path | None = None,
    ) -> Finding:
        name = "" if file is None else str(file.relative_to(self.root))
        return Finding(self.name, tuple(self._ids[row] for row in rows), problem, action, name, tuple(rows))


def _chunk_values(array: ArrayMetadata, file: Path) -> tuple[NDArray[Any] | None, str | None]:
    """The values of a plain chunk, or its fault."""
    if not file.exists():
        return None, "the chunk is missing"
    raw = file.read_bytes()
    if len(raw) != array.chunk_bytes + CRC_BYTES or crc32c(raw[:-CRC_BYTES]) != raw[-CRC_BYTES:]:
        return None, "the chunk fails its checksum"
    return np.frombuffer(raw[:-CRC_BYTES], array.dtype).reshape(array.grid), None


def _wrong_chunk(raw: bytes | None, array: ShardedArray, what: str) -> str | None:
    """The fault of a chunk and its checksum, or None; also None when there is no chunk."""
    if raw is None:
        return None
    size = array.chunk_bytes
    if len(raw) != size + CRC_BYTES:
        return f"chunk has {len(raw)} bytes, expected {size + CRC_BYTES}"
    if crc32c(memoryview(raw)[:-CRC_BYTES]) != raw[-CRC_BYTES:]:
        return f"{what} fail their checksum"
    return _wrong_values(np.frombuffer(raw, array.dtype, count=size // array.dtype.itemsize), what)


def _wrong_values(values: NDArray, what: str) -> str | None:
    """The fault of the values in a chunk of tokens or scales, or None."""
    if not _all_finite(values):
        return f"{what} hold NaN or infinity"
    if what == "scale" and not ((values >= 0) & (values <= _LARGEST_SCALE)).all():
        return "scale holds values that no int8 tokens have"
    return None


def _all_finite(values: NDArray) -> bool:
    if values.dtype == np.float16:  # by the exponent bits, because np.isfinite is several times slower for float16
        return bool(((values.view(np.uint16) & 0x7C00) != 0x7C00).all())
    return bool(np.isfinite(values).all())


def _empty_chunk(filled: NDArray[np.bool_], chunk: tuple[int, ...]) -> tuple[int, ...] | None:
    """The first place (view, token, column) of a chunk in which no segment has a value, or None."""
    for place in np.argwhere(~filled).tolist():
        corner = tuple(at // size * size for at, size in zip(place, chunk, strict=True))
        if not filled[tuple(slice(at, at + size) for at, size in zip(corner, chunk, strict=True))].any():
            return corner
    return None
