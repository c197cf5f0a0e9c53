"""Batches of tokens as torch tensors, from the fastest place they fit in: the GPU, RAM, else disk.

Where tokens live (residency) never changes what a batch holds or in which order batches come.
"""

import dataclasses
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from mmcache.store.errors import ConfigError
from mmcache.store.kaverage import k_average
from mmcache.store.order import batch_rows, epoch_order

if TYPE_CHECKING:
    from mmcache.store.feature_store import FeatureStore

RESIDENCIES = ("auto", "gpu", "ram", "disk")
_RAM_SHARE = 0.5  # of the free memory; the rest is for the model and for other programs
_GPU_SHARE = 0.5
_READ_AHEAD = 1  # batches in flight beyond the one in use
_FILL_ROWS = 256  # rows read at a time while filling RAM


@dataclasses.dataclass(frozen=True)
class Batch:
    """Some segments, ready for a model.

    Attributes:
        tokens: modality -> (B, T, D), stored dtype; zero where absent.
        lengths: modality -> (B,) true token counts.
        present: (B, M) bool, columns in the order of `modalities`.
        labels: task -> (B,) int64, -1 where unlabelled.
        rows: (B,) row numbers in the store.
    """

    tokens: dict[str, torch.Tensor]
    lengths: dict[str, torch.Tensor]
    present: torch.Tensor
    labels: dict[str, torch.Tensor]
    rows: NDArray[np.int64]
    modalities: list[str]


class Loader:
    """Reads tokens of fixed modalities for a fixed set of rows, epoch after epoch.

    Args:
        modalities: names as in FeatureStore.tokens; None = all of the store.
        rows: (n,) the rows this loader will be asked for.
        k: k-Average cap applied on reading; None = tokens as stored.
        resident: gpu, ram, disk, or auto = the first of these the tokens fit in.
        device: where batches are put.

    Raises:
        ConfigError: `resident` is unknown, or gpu is asked for on another device.
    """

    def __init__(
        self,
        store: "FeatureStore",
        modalities: Sequence[str] | None,
        rows: NDArray[np.integer],
        *,
        k: int | None = None,
        resident: str = "disk",
        device: str = "cpu",
    ) -> None:
        self._store = store
        self.modalities = list(store.modalities if modalities is None else modalities)
        self.rows = np.asarray(rows, np.int64)
        self._k = k
        self.device = torch.device(device)
        self._arrays = {name: store.tokens[name] for name in self.modalities}
        self._present = store.presence_matrix(self.modalities)
        self._labels = {task: store.labels(task) for task in store.tasks}
        self.resident = self._choose(resident)
        self._resident_tokens: dict[str, torch.Tensor] = {}
        self._position = np.full(len(store), -1, np.int64)  # row -> place in the resident tokens
        self._position[self.rows] = np.arange(len(self.rows))
        self._lengths = {name: self._true_lengths(name) for name in self.modalities}
        if self.resident != "disk":
            self._fill()

    def n_tokens(self, name: str) -> int:
        """T of a modality's batches."""
        return min(self._arrays[name].shape[2], self._k or self._arrays[name].shape[2])

    def width(self, name: str) -> int:
        """D of a modality's batches."""
        return self._arrays[name].shape[3]

    @property
    def bytes(self) -> int:
        """Bytes of the loader's rows when resident."""
        return sum(
            len(self.rows) * self.n_tokens(name) * self.width(name) * self._arrays[name].dtype.itemsize
            for name in self.modalities
        )

    def epoch(
        self,
        *,
        batch_size: int,
        seed: int,
        epoch: int,
        rows: NDArray[np.integer] | None = None,
        start: int = 0,
    ) -> Iterator[Batch]:
        """Shuffled batches of `rows` (None = the loader's), the order a function of (seed, epoch) alone.

        `start` skips that many batches: a run that stopped in mid-epoch goes on in the same order.
        """
        order = epoch_order(self.rows if rows is None else rows, seed, epoch)
        return self._stream(batch_rows(order, batch_size)[start:])

    def in_order(self, *, batch_size: int, rows: NDArray[np.integer] | None = None) -> Iterator[Batch]:
        """Batches of `rows` (None = the loader's) as they stand."""
        return self._stream(batch_rows(self.rows if rows is None else np.asarray(rows), batch_size))

    def batch(self, rows: NDArray[np.int64]) -> Batch:
        """The batch of exactly these rows."""
        if self.resident == "disk":
            tokens = {name: self._to_device(torch.from_numpy(self._read(name, rows))) for name in self.modalities}
        else:
            places = self._position[rows]
            if (places < 0).any():
                raise IndexError(f"row {rows[places < 0][0]} is not among the rows this loader was made for")
            index = torch.from_numpy(places)
            tokens = {}
            for name, resident in self._resident_tokens.items():
                tokens[name] = self._to_device(resident[index.to(resident.device)])
        return Batch(
            tokens=tokens,
            lengths={name: self._to_device(torch.from_numpy(self._lengths[name][rows])) for name in self.modalities},
            present=self._to_device(torch.from_numpy(self._present[rows])),
            labels={task: self._to_device(torch.from_numpy(labels[rows])) for task, labels in self._labels.items()},
            rows=rows,
            modalities=self.modalities,
        )

    def _stream(self, batches: list[NDArray[np.int64]]) -> Iterator[Batch]:
        """Read ahead in a thread while the caller works."""
        if self.resident != "disk":
            yield from map(self.batch, batches)
            return
        with ThreadPoolExecutor(1, thread_name_prefix="mmcache-read-ahead") as pool:
            ahead: deque[Future[Batch]] = deque()
            for rows in batches:
                ahead.append(pool.submit(self.batch, rows))
                if len(ahead) > _READ_AHEAD:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()

    def _read(self, name: str, rows: NDArray[np.int64]) -> NDArray[Any]:
        tokens = self._arrays[name].read(rows)
        if self._k is not None and self._k < tokens.shape[1]:
            lengths = self._store.lengths[name]
            tokens, _ = k_average(tokens, self._k, None if lengths is None else lengths[rows, 0])
        return tokens

    def _true_lengths(self, name: str) -> NDArray[np.int32]:
        stored = self._store.lengths[name]
        full = self.n_tokens(name)
        if stored is None:
            return np.full(len(self._store), full, np.int32)
        return np.minimum(stored[:, 0], full).astype(np.int32)

    def _fill(self) -> None:
        for name in self.modalities:
            shape = (len(self.rows), self.n_tokens(name), self.width(name))
            tokens = np.empty(shape, self._arrays[name].dtype)
            for start in range(0, len(self.rows), _FILL_ROWS):
                rows = self.rows[start : start + _FILL_ROWS]
                tokens[start : start + len(rows)] = self._read(name, rows)
            tensor = torch.from_numpy(tokens)
            self._resident_tokens[name] = tensor.to(self.device) if self.resident == "gpu" else tensor

    def _choose(self, resident: str) -> str:
        if resident not in RESIDENCIES:
            raise ConfigError(f"resident must be one of {', '.join(RESIDENCIES)}, got '{resident}'")
        if resident == "gpu" and self.device.type != "cuda":
            raise ConfigError(f"resident gpu needs a CUDA device; this run's device is {self.device}. Use ram or disk.")
        if resident != "auto":
            return resident
        if self.device.type == "cuda" and self.bytes < _GPU_SHARE * torch.cuda.mem_get_info(self.device)[0]:
            return "gpu"
        return "ram" if self.bytes < _RAM_SHARE * psutil.virtual_memory().available else "disk"

    def _to_device(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor if tensor.device == self.device else tensor.to(self.device, non_blocking=True)
