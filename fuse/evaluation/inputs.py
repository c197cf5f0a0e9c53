"""The segments of a store as a model takes them."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mmcache.fuse.network.model import Model
from mmcache.fuse.runs.spec import ModelSpec
from mmcache.store.feature_store import FeatureStore
from mmcache.store.ground.errors import ConfigError
from mmcache.store.load.loader import Batch, Loader

BATCH = 64


def stored_sources(spec: ModelSpec, store: FeatureStore) -> dict[str, str]:
    """Modality -> name of its tokens, for those of a model that the store has; the others are absent.

    Raises:
        ConfigError: the store has none of them, or tokens of another width.
    """
    found = {}
    for name, (encoder, _, width) in spec.modalities.items():
        if (name, encoder) in store.arrays:
            found[name] = f"{name}/{encoder}"
            here = store.tokens[found[name]].shape[3]
            if here != width:
                raise ConfigError(f"{store.path} has {found[name]} tokens of width {here}; the run needs {width}")
    if not found:
        has = ", ".join(f"{modality}/{encoder}" for modality, encoder in store.arrays) or "none"
        needed = ", ".join(f"{name}/{encoder}" for name, (encoder, _, _) in spec.modalities.items())
        raise ConfigError(f"{store.path} has no tokens that this run reads: it needs {needed}, the store has {has}")
    return found


class Inputs:
    """The batches of some rows as a model takes them; modalities that the store has not are absent.

    Args:
        loader: reuse this one, which must hold the rows and the modalities of `stored_sources`; None = make one.
    """

    def __init__(
        self, model: Model, store: FeatureStore, rows: NDArray[np.int64], k: int, device: str, loader: Loader | None
    ) -> None:
        self.names, self.rows = model.spec.names, rows
        sources = stored_sources(model.spec, store)
        self._column = [self.names.index(name) for name in sources]
        self._loader = loader or Loader(store, list(sources.values()), rows, k=k, device=device)
        present = np.zeros((len(rows), len(self.names)), bool)
        present[:, self._column] = store.presence_matrix(list(sources.values()))[rows]
        self.present = present
        self.stored = list(sources)

    def batches(self, size: int = BATCH) -> Iterator[Batch]:
        """In the order of the rows; `present` is (B, M) over the model's modalities, tokens those of the store."""
        for batch in self._loader.in_order(batch_size=size, rows=self.rows):
            present = batch.present.new_zeros(len(batch.rows), len(self.names))
            present[:, self._column] = batch.present
            yield dataclasses.replace(batch, present=present, modalities=self.names)

    @property
    def complete(self) -> NDArray[np.int64]:
        """The rows that have every modality that occurs among them."""
        return self.rows[self.present[:, self.present.any(axis=0)].all(axis=1)]


def complete_inputs(model: Model, store: FeatureStore, rows: NDArray[np.int64], k: int, device: str) -> Inputs:
    """The inputs of the complete segments among `rows`."""
    return Inputs(model, store, Inputs(model, store, rows, k, device, None).complete, k, device, None)
