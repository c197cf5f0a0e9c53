"""Read tokens of a store into memory once, so that the loaders of all processes of a machine share them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmcache.store.load.batch_source import BatchSource, SharedTokens
from mmcache.store.load.buffers import BufferPool
from mmcache.store.load.modality_reader import ModalityReader


def read_shared_tokens(
    store: BatchSource, sources: Sequence[str], rows: NDArray[np.int64], k: int | None
) -> SharedTokens:
    """Read the tokens of some rows, k-averaged, into memory. Raises ConfigError and StoreError as Loader does."""
    readers = {source: ModalityReader(store, source, k, BufferPool()) for source in sources}
    parts = {source: [part.numpy() for part in reader.read_all(rows)] for source, reader in readers.items()}
    return SharedTokens(rows, {source: reader.n_tokens for source, reader in readers.items()}, parts)


def shared_bytes(store: BatchSource, sources: Sequence[str], n_rows: int, k: int | None) -> int:
    """How many bytes `read_shared_tokens` takes for `n_rows` rows."""
    return n_rows * sum(ModalityReader(store, source, k, BufferPool()).row_bytes for source in sources)
