"""Batches of tokens as torch tensors, from the fastest place that has room: the GPU, RAM, else disk.

This place (the residency) changes neither the contents nor the order of batches.
"""

import dataclasses
import threading
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue

import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from mmcache.store.ground.errors import ConfigError, unknown_name
from mmcache.store.load.batch_source import BatchSource, SharedTokens
from mmcache.store.load.buffers import BufferPool
from mmcache.store.load.modality_reader import ModalityReader
from mmcache.store.load.order import balanced_order, batch_rows, epoch_order, id_keys, keyed_uniform
from mmcache.store.load.streams import Stream

RESIDENCIES = ("auto", "gpu", "ram", "disk")
_RAM_SHARE = 0.5  # of the free memory; the rest is for the model and for other programs
_GPU_SHARE = 0.5


@dataclasses.dataclass(frozen=True)
class Batch:
    """Some segments, ready for a model.

    Attributes:
        tokens: modality -> (B, T, D), float; zero where absent. Where a loader reads several encoders of one modality,
            the keys are the names that it was given, such as rgb/swin3d_t.
        lengths: modality -> (B,) true token counts.
        present: (B, M) bool, columns in the order of `modalities`.
        labels: task -> (B,) int64, -1 where unlabelled.
        rows: (B,) row numbers in the store.
        views: (B,) which cached view of each segment this is, the same in all modalities; 0 is the centre view.
    """

    tokens: dict[str, torch.Tensor]
    lengths: dict[str, torch.Tensor]
    present: torch.Tensor
    labels: dict[str, torch.Tensor]
    rows: NDArray[np.int64]
    views: NDArray[np.int64]
    modalities: list[str]


Wanted = tuple[NDArray[np.int64], NDArray[np.int64]]  # rows, and the view of each


class _ReadAhead:
    """A thread that reads batches in the background. Plain queues: futures of a pool cost as much as a small batch."""

    def __init__(self, make: Callable[[Wanted], Batch]) -> None:
        self._make = make
        self._asked: SimpleQueue[Wanted | None] = SimpleQueue()
        self._made: SimpleQueue[Batch | BaseException] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="mmcache-read-ahead", daemon=True)
        self._thread.start()

    def ask(self, wanted: Wanted) -> None:
        self._asked.put(wanted)

    def result(self) -> Batch:
        """The next batch, in the order of `ask`. Raises the exception of reading it."""
        made = self._made.get()
        if isinstance(made, BaseException):
            raise made
        return made

    def close(self) -> None:
        self._asked.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (wanted := self._asked.get()) is not None:
            try:
                self._made.put(self._make(wanted))
            except BaseException as error:  # raised again by result()
                self._made.put(error)


class Loader:
    """Reads tokens of fixed modalities for a fixed set of rows, epoch after epoch.

    From disk, two batches are in memory at a time, or three for a moment: the one in use and the one being read. Their
    memory is reused when no reference to their tensors is left.

    Args:
        modalities: names as in FeatureStore.tokens; None = all of the store.
        rows: (n,) the rows that this loader can return.
        k: k-Average cap applied on reading; None = tokens as stored.
        resident: gpu, ram, disk, or auto = the first of these the tokens fit in.
        device: where batches are put.

    Attributes:
        n_views: largest number of cached views of any modality.
        resident: where the tokens are: gpu, ram or disk.
        residency: the same as a sentence, with the sizes that decided.

    Raises:
        ConfigError: `resident` or a modality is unknown, gpu is requested on another device, or k < 1.
    """

    def __init__(
        self,
        store: BatchSource,
        modalities: Sequence[str] | None,
        rows: NDArray[np.integer],
        *,
        k: int | None = None,
        resident: str = "disk",
        device: str = "cpu",
    ) -> None:
        if k is not None and k < 1:
            raise ConfigError(f"k {k}: at least 1 token must be left")
        self.modalities = list(store.modalities if modalities is None else modalities)
        self.rows = np.asarray(rows, np.int64)
        self.device = torch.device(device)
        buffers = BufferPool(pinned=self.device.type == "cuda")
        self._readers = {name: ModalityReader(store, name, k, buffers) for name in self.modalities}
        self._modality_of = _modality_names(self.modalities)
        self.n_views = max((reader.n_views for reader in self._readers.values()), default=1)
        self._keys = id_keys(store.segments["id"]) if self.n_views > 1 else None
        self._present = store.presence_matrix(self.modalities)
        self._labels = {task: store.labels(task) for task in store.tasks}
        self._shared = self._find_shared(store)
        self.resident, self.residency = self._choose(resident)
        self._resident: dict[str, list[torch.Tensor]] = {}
        self._position = np.full(len(store), -1, np.int64)  # row -> place in the resident tokens
        if self.resident != "disk":
            self._make_resident(store)

    def _find_shared(self, store: BatchSource) -> SharedTokens | None:
        """Shared tokens that have all rows, sources and token counts of this loader; None when there are none."""
        wanted = {"/".join(store.resolve(name)): reader.n_tokens for name, reader in self._readers.items()}
        return next((held for held in store.shared_tokens if held.serves(self.rows, wanted)), None)

    def _make_resident(self, store: BatchSource) -> None:
        """Read the loader's rows into memory, or take the shared tokens."""
        held = self._shared
        rows = self.rows if held is None else held.rows
        self._position[rows] = np.arange(len(rows))
        for name, reader in self._readers.items():
            parts = reader.read_all(rows) if held is None else held.tensors("/".join(store.resolve(name)))
            self._resident[name] = [part.to(self.device) for part in parts] if self.resident == "gpu" else parts

    def n_tokens(self, name: str) -> int:
        """T of a modality's batches."""
        return self._readers[name].n_tokens

    def width(self, name: str) -> int:
        """D of a modality's batches."""
        return self._readers[name].width

    @property
    def bytes(self) -> int:
        """Bytes of the loader's rows when resident."""
        return len(self.rows) * sum(reader.row_bytes for reader in self._readers.values())

    def epoch(
        self,
        *,
        batch_size: int,
        seed: int,
        epoch: int,
        rows: NDArray[np.integer] | None = None,
        start: int = 0,
        rank: int = 0,
        world_size: int = 1,
        balance: str | None = None,
        view: int | None = None,
    ) -> Iterator[Batch]:
        """Shuffled batches of `rows` (None = the loader's), the order a function of (seed, epoch) alone.

        Args:
            view: the view to read; None = one of those cached at random, a function of (seed, epoch, segment id).
            start: skip this many batches, to continue an interrupted epoch in the same order.
            rank, world_size: this process's share of every step; see order.batch_rows.
            balance: a task whose classes occur equally often; see order.balanced_order.

        Raises:
            ConfigError: batch_size < 1, no such rank, start < 0, `balance` is no task, or there is no such view.
        """
        rows = self.rows if rows is None else np.asarray(rows, np.int64)
        if start < 0:
            raise ConfigError(f"start {start}: batches are counted from 0")
        if balance is None:
            order = epoch_order(rows, seed, epoch)
        elif balance in self._labels:
            order = balanced_order(rows, self._labels[balance][rows], seed, epoch)
        else:
            raise ConfigError(unknown_name("task", balance, self._labels))
        batches = batch_rows(order, batch_size, rank, world_size)[start:]
        self._check_view(view)
        return self._stream([(rows, self._views(rows, view, seed, epoch)) for rows in batches])

    def in_order(self, *, batch_size: int, rows: NDArray[np.integer] | None = None, view: int = 0) -> Iterator[Batch]:
        """Batches of `rows` (None = the loader's) in the given order and one view. Raises ConfigError as `epoch`."""
        self._check_view(view)
        batches = batch_rows(self.rows if rows is None else np.asarray(rows), batch_size)
        return self._stream([(rows, np.full(len(rows), view)) for rows in batches])

    def batch(self, rows: NDArray[np.int64], views: NDArray[np.int64] | None = None) -> Batch:
        """The batch of exactly these rows, each in its view; None = the centre view."""
        if views is None:
            views = np.zeros(len(rows), np.int64)
        places = None if self.resident == "disk" else self._places(rows)
        tokens, lengths = {}, {}
        for name, reader in self._readers.items():
            own = reader.view(views)
            if places is None:
                parts = reader.read(rows, own)
            else:
                parts = reader.gather(self._resident[name], places * reader.n_views + torch.from_numpy(own))
            tokens[self._modality_of[name]] = reader.finish([self._to_device(part) for part in parts])
            lengths[self._modality_of[name]] = reader.lengths[rows, own]
        return Batch(
            tokens=tokens,
            lengths={name: self._to_device(torch.from_numpy(values)) for name, values in lengths.items()},
            present=self._to_device(torch.from_numpy(self._present[rows])),
            labels={task: self._to_device(torch.from_numpy(labels[rows])) for task, labels in self._labels.items()},
            rows=rows,
            views=views,
            modalities=list(self._modality_of.values()),
        )

    def _places(self, rows: NDArray[np.int64]) -> torch.Tensor:
        """The positions of rows in the resident tokens. Raises IndexError for a row that is not resident."""
        places = self._position[rows]
        if (places < 0).any():
            raise IndexError(f"row {rows[places < 0][0]} is not among the rows this loader was made for")
        return torch.from_numpy(places)

    def _check_view(self, view: int | None) -> None:
        if view is not None and not 0 <= view < self.n_views:
            raise ConfigError(f"view {view}: {self.n_views} views are cached, counted from 0")

    def _views(self, rows: NDArray[np.int64], view: int | None, seed: int, epoch: int) -> NDArray[np.int64]:
        if view is not None or self._keys is None:
            return np.full(len(rows), view or 0)
        return (keyed_uniform(self._keys[rows], seed, epoch, Stream.VIEWS) * self.n_views).astype(np.int64)

    def _stream(self, batches: list[Wanted]) -> Iterator[Batch]:
        """Read ahead in a thread while the caller works."""
        if self.resident != "disk":
            for wanted in batches:
                yield self.batch(*wanted)
            return
        ahead = _ReadAhead(lambda wanted: self.batch(*wanted))
        try:
            for i, wanted in enumerate(batches):
                # One batch is read while the caller uses another: the next is requested before this one is yielded.
                ready = [ahead.result()] if i else []
                ahead.ask(wanted)
                if ready:
                    yield ready.pop()  # no reference stays here, so its memory is free when the caller drops it
            if batches:
                yield ahead.result()
        finally:
            ahead.close()

    def _choose(self, resident: str) -> tuple[str, str]:
        if resident not in RESIDENCIES:
            raise ConfigError(f"resident must be one of {', '.join(RESIDENCIES)}, got '{resident}'")
        if resident == "gpu" and self.device.type != "cuda":
            raise ConfigError(f"resident gpu needs a CUDA device; this run's device is {self.device}. Use ram or disk.")
        size = f"{self.bytes / 1e9:.2f} GB of tokens"
        if resident != "auto":
            return resident, f"{resident}, as requested: {size}"
        if self._shared is not None and self.device.type == "cpu":
            return "ram", f"ram: {size}, in shared memory already"
        free = {}
        if self.device.type == "cuda":
            free["gpu"] = _GPU_SHARE * torch.cuda.mem_get_info(self.device)[0]
        free["ram"] = _RAM_SHARE * psutil.virtual_memory().available
        for place, allowed in free.items():
            if self.bytes < allowed:
                return place, f"{place}: {size}, {allowed / 1e9:.1f} GB allowed there"
        allowed_in = ", ".join(f"{allowed / 1e9:.1f} GB in {place}" for place, allowed in free.items())
        return "disk", f"disk: {size} exceed the allowed memory ({allowed_in})"

    def _to_device(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor if tensor.device == self.device else tensor.to(self.device, non_blocking=True)


def _modality_names(sources: Sequence[str]) -> dict[str, str]:
    """Name as in FeatureStore.tokens -> the key of its tokens in a batch: the modality, where one source has it."""
    bare = {name: name.partition("/")[0].partition("=")[0] for name in sources}
    return bare if len(set(bare.values())) == len(bare) else {name: name for name in sources}
