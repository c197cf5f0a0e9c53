"""The tokens of one modality for a loader: read from the store, kept resident, and turned into batches."""

import numpy as np
import torch
from numpy.typing import NDArray

from mmcache.store.format.kaverage import k_average
from mmcache.store.load.batch_source import BatchSource
from mmcache.store.load.buffers import BufferPool

_FINISH_ROWS = 4
_FILL_ROWS = 256  # rows read at a time while filling memory


class ModalityReader:
    """Reads the tokens of one modality for batches.

    Tokens are passed on as `parts`: one tensor (B, T, D); for int8 stores two, int8 (B, T, D) and float32 scales
    (B, T, 1), which `finish` multiplies on the final device. With k-Average, tokens are averaged on reading.

    Attributes:
        n_views: V, how many views are cached.
        n_tokens: T of a batch.
        width: D of a batch.
        lengths: (N, V) true token counts, int32.
    """

    def __init__(self, store: BatchSource, name: str, k: int | None, buffers: BufferPool) -> None:
        self._array = store.tokens[name]
        self._buffers = buffers
        self._cached = store.presence_matrix([name])[:, 0]
        self.n_views, tokens, self.width = self._array.shape[1:]
        self.n_tokens = min(tokens, k or tokens)
        self._averages = self.n_tokens < tokens
        stored = store.lengths[name]
        self._stored_lengths = stored
        full = np.full((len(store), self.n_views), tokens, np.int32) if stored is None else stored
        self.lengths = np.minimum(full, self.n_tokens).astype(np.int32)

    @property
    def row_bytes(self) -> int:
        """Bytes of one segment, all its views, when resident."""
        if self._array.scale is not None and not self._averages:
            return self.n_views * (self._array.chunk_bytes + self._array.scale.chunk_bytes)
        return self.n_views * self.n_tokens * self.width * self._array.float_dtype.itemsize

    def view(self, views: NDArray[np.int64]) -> NDArray[np.int64]:
        """This modality's views for (B,) `views` of the store; a modality with fewer views repeats them in turn."""
        return views % self.n_views

    def read(self, rows: NDArray[np.int64], views: NDArray[np.int64]) -> list[torch.Tensor]:
        """The parts of (B,) rows, each in the given view of this modality; zero where a segment is not cached.

        Checksums are compared when a chunk is read for the first time since the store was opened.
        """
        check = not self._array.verified[rows, views].all()
        if self._averages:
            tokens = self._take(len(rows), self._array.shape[2:], self._array.float_dtype)
            self._array.read_float(rows, views, out=tokens.numpy(), check=check, expected=self._cached[rows])
            lengths = None if self._stored_lengths is None else self._stored_lengths[rows, views]
            parts = [torch.from_numpy(k_average(tokens.numpy(), self.n_tokens, lengths)[0])]
        else:
            arrays = [self._array, *([] if self._array.scale is None else [self._array.scale])]
            parts = [self._take(len(rows), array.shape[2:], array.dtype) for array in arrays]
            for array, part in zip(arrays, parts, strict=True):
                array.read(rows, views, out=part.numpy(), check=check, expected=self._cached[rows])
        absent = ~self._cached[rows]
        if absent.any():  # a killed run may leave tokens that presence does not list as cached
            parts[0][torch.from_numpy(absent)] = 0
        return parts

    def read_all(self, rows: NDArray[np.int64]) -> list[torch.Tensor]:
        """As `read`, for many rows with all their views, row by row: (n V, T, D).

        Allocates the result and one block of rows.
        """
        every_row = np.repeat(rows, self.n_views)
        every_view = np.tile(np.arange(self.n_views), len(rows))
        first = self.read(every_row[:_FILL_ROWS], every_view[:_FILL_ROWS])
        whole = [torch.empty((len(every_row), *part.shape[1:]), dtype=part.dtype) for part in first]
        for start in range(0, len(every_row), _FILL_ROWS):
            some = slice(start, start + _FILL_ROWS)
            parts = self.read(every_row[some], every_view[some]) if start else first
            for part, target in zip(parts, whole, strict=True):
                target[start : start + len(part)] = part
        return whole

    def gather(self, resident: list[torch.Tensor], places: torch.Tensor) -> list[torch.Tensor]:
        """The parts at some positions of the result of read_all, on its device."""
        if resident[0].is_cuda:
            places = places.to(resident[0].device)
            return [part[places] for part in resident]
        out = [self._take(len(places), tuple(part.shape[1:]), part.numpy().dtype) for part in resident]
        for part, target in zip(resident, out, strict=True):
            torch.index_select(part, 0, places, out=target)
        return out

    def finish(self, parts: list[torch.Tensor]) -> torch.Tensor:
        """(B, T, D) floats from parts that are on their device."""
        if len(parts) == 1:
            return parts[0]
        quantised, scale = parts
        if quantised.is_cuda:
            out = torch.empty(quantised.shape, dtype=torch.float16, device=quantised.device)
            return torch.mul(quantised, scale, out=out)  # in float32, rounded once
        # The same in three steps that are fast on CPUs, a few segments at a time so that they stay in the cache.
        out = self._take(len(quantised), tuple(quantised.shape[1:]), np.float16)
        floats = self._take(min(_FINISH_ROWS, len(quantised)), tuple(quantised.shape[1:]), np.float32)
        for start in range(0, len(quantised), _FINISH_ROWS):
            some = slice(start, start + _FINISH_ROWS)
            block = floats[: len(quantised[some])]
            out[some].copy_(block.copy_(quantised[some]).mul_(scale[some]))
        return out

    def _take(self, rows: int, shape: tuple[int, ...], dtype: object) -> torch.Tensor:
        return self._buffers.take(rows, tuple(shape), dtype)  # type: ignore[arg-type]
