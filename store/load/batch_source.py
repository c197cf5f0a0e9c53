"""The source of batches: the interface of an open store, and tokens of it in shared memory."""

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from mmcache.store.read.token_array import TokenArray


@dataclasses.dataclass(frozen=True)
class SharedTokens:
    """Tokens of some rows of a store, k-averaged, with all their views, in memory that processes of a machine share.

    Attributes:
        rows: (n,) of the store, ascending.
        n_tokens: source (as rgb/swin3d_t) -> T after k-Average.
        parts: source -> what ModalityReader.read_all returns for the rows: read-only arrays (n V, T, D).
    """

    rows: NDArray[np.int64]
    n_tokens: Mapping[str, int]
    parts: Mapping[str, list[NDArray]]

    @property
    def bytes(self) -> int:
        return sum(part.nbytes for parts in self.parts.values() for part in parts)

    def serves(self, rows: NDArray[np.int64], n_tokens: Mapping[str, int]) -> bool:
        """Whether all of these rows and sources are included, averaged to the same numbers of tokens."""
        same = all(self.n_tokens.get(source) == count for source, count in n_tokens.items())
        return same and bool(np.isin(rows, self.rows, assume_unique=False).all())

    def tensors(self, source: str) -> list[torch.Tensor]:
        """The parts of a source as tensors that share their memory."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch warns of memory that must not be written to
            return [torch.from_numpy(part) for part in self.parts[source]]


class BatchSource(Protocol):
    """An open store as the loader sees it. FeatureStore is one; its docstrings describe the members."""

    shared_tokens: list[SharedTokens]

    @property
    def modalities(self) -> list[str]: ...
    @property
    def segments(self) -> pd.DataFrame: ...
    @property
    def tasks(self) -> dict[str, list[str]]: ...
    @property
    def tokens(self) -> Mapping[str, TokenArray]: ...
    @property
    def lengths(self) -> Mapping[str, NDArray[np.int32] | None]: ...
    def __len__(self) -> int: ...
    def resolve(self, name: str) -> tuple[str, str]: ...
    def labels(self, task: str) -> NDArray[np.int64]: ...
    def presence_matrix(self, modalities: Sequence[str] | None = None) -> NDArray[np.bool_]: ...
