"""Open a store and read from it: segments, tokens, presence, labels, batches."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmcache.store.format import layout
from mmcache.store.format.array_metadata import ArrayMetadata
from mmcache.store.format.layout import Presence, StoreMeta, token_arrays
from mmcache.store.format.location import is_remote, locate
from mmcache.store.format.reports import read_reports
from mmcache.store.format.small_array import impossible_values, read_values
from mmcache.store.format.token_set import read_token_set
from mmcache.store.ground.errors import ConfigError, Problems, StoreError, UnknownTokensError, unknown_name
from mmcache.store.read.stored_segments import check_segment_table
from mmcache.store.read.token_array import TokenArray
from mmcache.store.segments.folds import fold_split
from mmcache.store.segments.segment_table import read_segments
from mmcache.store.segments.splits import TEST, canonical_splits, choose_eval_split

if TYPE_CHECKING:
    from mmcache.store.load.batch_source import SharedTokens
    from mmcache.store.load.loader import Batch

_PROTOCOL = "split_"  # prefix of the columns of other divisions


class _PerArray(Mapping[str, Any]):
    """One value per token array. Keys: `rgb` (its first encoder), `rgb/swin3d_t` or `rgb=swin3d_t`."""

    def __init__(self, names: list[tuple[str, str]], make: Any) -> None:
        self._names = names
        self._make = make
        self._made: dict[tuple[str, str], Any] = {}

    def resolve(self, name: str) -> tuple[str, str]:
        """(modality, encoder) of a name. Raises UnknownTokensError when the store has no such tokens."""
        modality, _, encoder = name.replace("=", "/").partition("/")
        for known in self._names:
            if known[0] == modality and encoder in ("", known[1]):
                return known
        allowed = {m for m, _ in self._names} | {f"{m}/{e}" for m, e in self._names}
        raise UnknownTokensError(unknown_name("tokens", name, allowed))

    def __getitem__(self, name: str) -> Any:
        key = self.resolve(name)
        if key not in self._made:
            self._made[key] = self._make(*key)
        return self._made[key]

    def opened(self) -> list[Any]:
        """The values that exist already."""
        return list(self._made.values())

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(modality for modality, _ in self._names))

    def __len__(self) -> int:
        return len({modality for modality, _ in self._names})


class FeatureStore:
    """A store, open for reading.

    Attributes:
        path: its folder or address.
        meta: dataset, tasks with their class names, splits.
        tokens: modality -> TokenArray, (N, V, T, D).
        present: modality -> (N,) uint8 of Presence values.
        lengths: modality -> (N, V) int32 true token counts, or None where all are T.
        shared_tokens: tokens in shared memory; a loader takes them instead of reading the store.
    """

    def __init__(self, path: Path, meta: StoreMeta) -> None:
        self.path = path
        self.meta = meta
        self.arrays = token_arrays(path)
        self.shared_tokens: list[SharedTokens] = []
        self._sets: dict[tuple[str, str], dict[str, ArrayMetadata]] = {}
        self.tokens: Mapping[str, TokenArray] = _PerArray(
            self.arrays, lambda modality, encoder: TokenArray(path, modality, encoder, self._set(modality, encoder))
        )
        self.present: Mapping[str, NDArray[np.uint8]] = _PerArray(
            self.arrays, lambda modality, encoder: read_values(self._set(modality, encoder)["present"])
        )
        self.lengths: Mapping[str, NDArray[np.int32] | None] = _PerArray(
            self.arrays, lambda modality, encoder: self._side_values("length", modality, encoder)
        )
        self.errors: Mapping[str, NDArray[np.float32] | None] = _PerArray(
            self.arrays, lambda modality, encoder: self._side_values("error", modality, encoder)
        )

    @classmethod
    def open(cls, path: str | Path, protocol: str | None = None) -> "FeatureStore":
        """Open the store at `path`: a folder, or an address as s3://bucket/epic.zarr (see location.py).

        Args:
            protocol: another division of the same segments: one of `protocols`, or COLUMN=NAME, the fold that tests the
                segments with that value in the column and trains on all others; None = the store's own.

        All metadata of a store on a disk is checked here; at an address, that of an array when it is first used.

        Raises:
            StoreError: there is no store, it cannot be read, or its metadata contradict each other.
            ConfigError: the address needs libraries that are not installed, or there is no such protocol.
        """
        located = locate(path)
        store = cls(located, layout.read_meta(located))
        if not is_remote(located):
            for modality, encoder in store.arrays:
                store._set(modality, encoder)
        if protocol is not None:
            store._divide_by(protocol)
        return store

    def __repr__(self) -> str:
        return f"FeatureStore({str(self.path)!r}, {len(self)} segments, {', '.join(self.modalities)})"

    def __len__(self) -> int:
        return len(self.segments)

    @cached_property
    def segments(self) -> pd.DataFrame:
        """One row a segment; row i of every array is segment i."""
        path = self.path / layout.SEGMENTS
        return check_segment_table(read_segments(path, self.meta.sha256.get(layout.SEGMENTS)), self.meta, path)

    @property
    def protocols(self) -> list[str]:
        """The other published divisions the segments have: columns `split_<protocol>`."""
        columns = self.segments.columns
        return [column.removeprefix(_PROTOCOL) for column in columns if column.startswith(_PROTOCOL)]

    @property
    def eval_split(self) -> str:
        """The split that results are reported on, never train; '' when none can be chosen, see choose_eval_split."""
        return choose_eval_split(self.meta.eval_split, self.meta.splits)

    @property
    def modalities(self) -> list[str]:
        """The modalities with tokens, sorted."""
        return list(self.tokens)

    @property
    def tasks(self) -> dict[str, list[str]]:
        """Task -> class names, index = label."""
        return self.meta.tasks

    @property
    def failures(self) -> list[dict[str, Any]]:
        """Id, modality, encoder and reason of every segment that failed."""
        return read_reports(self.path / layout.FAILURES)

    @property
    def notes(self) -> list[dict[str, Any]]:
        """Id, modality, encoder and reason of every segment whose media were repaired or partly missing."""
        return read_reports(self.path / layout.NOTES)

    def resolve(self, name: str) -> tuple[str, str]:
        """(modality, encoder) of `rgb`, `rgb/swin3d_t` or `rgb=swin3d_t`. Raises ConfigError when unknown."""
        return self.tokens.resolve(name)  # type: ignore[attr-defined]

    def rows(self, split: str | None = None, modalities: Sequence[str] | None = None) -> NDArray[np.int64]:
        """Rows of a split (None = all) that have at least one of the modalities cached, ascending.

        Raises:
            ConfigError: no such split or modality.
        """
        if split is not None and split not in self.meta.splits:
            raise ConfigError(unknown_name("split", split, self.meta.splits))
        chosen = np.ones(len(self), bool) if split is None else (self.segments["split"] == split).to_numpy()
        return np.flatnonzero(chosen & self.presence_matrix(modalities).any(axis=1))

    def presence_matrix(self, modalities: Sequence[str] | None = None) -> NDArray[np.bool_]:
        """(N, M): which tokens are cached, columns in the order of `modalities` (None = all)."""
        names = self.modalities if modalities is None else modalities
        if not names:
            return np.zeros((len(self), 0), bool)
        return np.stack([self.present[name] == Presence.CACHED for name in names], axis=1)

    def labels(self, task: str) -> NDArray[np.int64]:
        """(N,) labels of one task, -1 where unlabelled. Raises ConfigError when unknown."""
        if task not in self.tasks:
            raise ConfigError(unknown_name("task", task, self.tasks))
        return self.segments[task].to_numpy(np.int64)

    def batches(
        self,
        split: str | None = "train",
        modalities: Sequence[str] | None = None,
        batch_size: int = 32,
        seed: int = 0,
        epoch: int = 0,
        device: str = "cpu",
        *,
        k: int | None = None,
        resident: str = "disk",
        start: int = 0,
        rank: int = 0,
        world_size: int = 1,
        balance: str | None = None,
    ) -> Iterator["Batch"]:
        """One epoch of shuffled batches; the order is a function of (seed, epoch) alone.

        Segments with none of the modalities are left out; of several views, one is drawn a segment. For several
        epochs, create one loader.Loader and keep it, because it holds the resident tokens. Arguments are those of
        Loader and Loader.epoch.

        Raises:
            ConfigError: a wrong name or number, before the first batch.
        """
        from mmcache.store.load.loader import Loader  # torch is needed for batches only

        loader = Loader(self, modalities, self.rows(split, modalities), k=k, resident=resident, device=device)
        return loader.epoch(
            batch_size=batch_size,
            seed=seed,
            epoch=epoch,
            start=start,
            rank=rank,
            world_size=world_size,
            balance=balance,
        )

    def close(self) -> None:
        """Close the files that are open for reading; the store may be read again after that."""
        for array in self.tokens.opened():  # type: ignore[attr-defined]
            array.close()

    def _divide_by(self, protocol: str) -> None:
        """Replace the store's split by that of a protocol; segments outside of the protocol are in no split.

        The evaluation split follows from choose_eval_split, with the store's own as the stated one.
        """
        split = self._split_of(protocol)
        counts = split[split != ""].value_counts().sort_index()
        self.segments = self.segments.assign(split=split)
        splits = {str(name): int(count) for name, count in counts.items()}
        reported = TEST if "=" in protocol else choose_eval_split(self.meta.eval_split, splits)
        self.meta = dataclasses.replace(self.meta, splits=splits, eval_split=reported)

    def _split_of(self, protocol: str) -> "pd.Series[str]":
        """The split of each segment in a protocol or fold, '' for none."""
        column, is_fold, group = protocol.partition("=")
        if is_fold:
            return fold_split(self.segments, column, group)
        if protocol not in self.protocols:
            raise ConfigError(unknown_name(f"protocol of {self.path}", protocol, self.protocols))
        column = _PROTOCOL + protocol
        split = self.segments[column].fillna("").astype(str).str.strip()
        problems = Problems()
        split = canonical_splits(split, f"column {column} of {self.path}", problems).where(split != "", "")
        problems.raise_if_any()
        return split

    def _set(self, modality: str, encoder: str) -> dict[str, ArrayMetadata]:
        """The metadata of a token set, read and checked on first use."""
        if (modality, encoder) not in self._sets:
            self._sets[modality, encoder] = read_token_set(self.path, modality, encoder, len(self))
        return self._sets[modality, encoder]

    def _side_values(self, kind: str, modality: str, encoder: str) -> NDArray[Any] | None:
        """Lengths or rounding errors, or None when there are none. Raises StoreError for an impossible value."""
        arrays, name = self._set(modality, encoder), f"{modality}/{encoder}"
        if kind not in arrays:
            return None
        values = read_values(arrays[kind])
        wrong = (
            impossible_values(kind, values, arrays["tokens"].shape[2])
            & (self.present[name] == Presence.CACHED)[:, None]
        )
        if wrong.any():
            row, view = np.argwhere(wrong)[0]
            raise StoreError(
                f"{arrays[kind].path} says {values[row, view]} for row {row}; the store is damaged there. "
                "`mmcache store verify` lists every such row"
            )
        return values
