"""Tokens that are in memory already, so that a loader need not read them: shared by the processes of one machine."""

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from mmcache.store.load.buffers import BufferPool
from mmcache.store.load.modality_reader import ModalityReader

if TYPE_CHECKING:
    from mmcache.store.feature_store import FeatureStore


@dataclasses.dataclass(frozen=True)
class TokensAtHand:
    """Tokens of some rows of a store, k-averaged, all their views.

    Attributes:
        rows: (n,) of the store, ascending.
        n_tokens: source (as rgb/swin3d_t) -> T after k-Average.
        parts: source -> what ModalityReader.read_all gives of the rows: arrays (n V, T, D). They are only ever read.
    """

    rows: NDArray[np.int64]
    n_tokens: Mapping[str, int]
    parts: Mapping[str, list[NDArray]]

    @property
    def bytes(self) -> int:
        return sum(part.nbytes for parts in self.parts.values() for part in parts)

    def serves(self, rows: NDArray[np.int64], n_tokens: Mapping[str, int]) -> bool:
        """Whether all of these rows and sources are here, averaged to as many tokens."""
        same = all(self.n_tokens.get(source) == count for source, count in n_tokens.items())
        return same and bool(np.isin(rows, self.rows, assume_unique=False).all())

    def tensors(self, source: str) -> list[torch.Tensor]:
        """The parts of a source as tensors that share their memory."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch warns of memory that must not be written to
            return [torch.from_numpy(part) for part in self.parts[source]]


def read_at_hand(store: "FeatureStore", sources: Sequence[str], rows: NDArray[np.int64], k: int | None) -> TokensAtHand:
    """Read the tokens of some rows, k-averaged, into memory. Raises ConfigError and StoreError as Loader does."""
    readers = {source: ModalityReader(store, source, k, BufferPool()) for source in sources}
    parts = {source: [part.numpy() for part in reader.read_all(rows)] for source, reader in readers.items()}
    return TokensAtHand(rows, {source: reader.n_tokens for source, reader in readers.items()}, parts)


def bytes_of(store: "FeatureStore", sources: Sequence[str], n_rows: int, k: int | None) -> int:
    """How many bytes `read_at_hand` would take."""
    return n_rows * sum(ModalityReader(store, source, k, BufferPool()).row_bytes for source in sources)
