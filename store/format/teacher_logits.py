"""A teacher's cached logits: logits/<teacher>/<task>, (N, V, S, C) float16, for every modality subset.

There are S = 2^M - 1 subsets. Subset s holds the teacher's j-th modality where bit j of s + 1 is set; the group's
attributes name the subsets. Where a segment has none of a subset's modalities, the logits are NaN.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcache.store.format import layout
from mmcache.store.format.array_metadata import read_array
from mmcache.store.format.small_array import write_chunk
from mmcache.store.ground.errors import StoreError
from mmcache.store.ground.text import excerpt

_CHUNK_BYTES = 8 << 20


def has_logits_cache(root: Path, teacher: str) -> bool:
    """Whether a store has cached logits of that teacher, complete or not. Writes nothing."""
    return (root / "logits" / layout.check_name("teacher", teacher) / "zarr.json").exists()


def subset_names(modalities: list[str]) -> list[str]:
    """The name of each subset, in the order of their numbers."""
    numbers = range(1, 2 ** len(modalities))
    return ["+".join(sorted(name for bit, name in enumerate(modalities) if s >> bit & 1)) for s in numbers]


class LogitsCache:
    """One teacher's logits in one store.

    Args:
        root: the store.
        teacher: its name, which contains a digest of the teacher, so that another teacher has another name.
        tasks: task -> number of classes.
        attributes: saved with the group: the teacher's modalities, and the names of their subsets in order.
    """

    def __init__(
        self,
        root: Path,
        teacher: str,
        n_rows: int,
        views: int,
        subsets: int,
        tasks: dict[str, int],
        attributes: dict[str, Any],
    ) -> None:
        self.path = root / "logits" / layout.check_name("teacher", teacher)
        self.tasks = tasks
        self._shape = (n_rows, views, subsets)
        row_bytes = views * subsets * max(tasks.values()) * 2
        self.rows_per_chunk = max(1, min(n_rows, _CHUNK_BYTES // row_bytes))
        layout.ensure_group(root, "logits")
        if (self.path / "zarr.json").exists():
            self.rows_per_chunk = self._check(attributes)
            return
        group = f"logits/{teacher}"
        for task, classes in tasks.items():
            shape = (*self._shape, classes)
            chunks = (self.rows_per_chunk, views, subsets, classes)
            layout.write_plain_array(root, f"{group}/{task}", shape, "float16", chunks, fill_value=float("nan"))
        layout.write_group(root, group, attributes)

    def _check(self, attributes: dict[str, Any]) -> int:
        """The rows of a chunk of the existing arrays. Raises StoreError when these do not fit this teacher."""
        again = f"Remove {self.path}: the teacher logits are computed again."
        saved = layout.read_attributes(self.path)
        for name in ("modalities", "subsets"):
            if saved.get(name) != attributes[name]:
                ours, theirs = excerpt(attributes[name]), excerpt(saved.get(name))
                raise StoreError(f"{self.path} has logits for the {name} {theirs}, the teacher has {ours}. {again}")
        rows = set()
        for task, classes in self.tasks.items():
            array = read_array(self.path / task, "logits")
            if array.shape != (*self._shape, classes):
                raise StoreError(f"{array.path} has the shape {array.shape}, not {(*self._shape, classes)}. {again}")
            if not array.is_plain or array.grid[1:] != array.shape[1:]:
                raise StoreError(f"{array.path} is laid out by another program. {again}")
            rows.add(array.grid[0])
        if len(rows) != 1:
            raise StoreError(f"{self.path} has chunks of {sorted(rows)} rows; they must be of one size. {again}")
        return rows.pop()

    def missing_blocks(self) -> list[range]:
        """The blocks of rows not written yet, in order."""
        n_rows = self._shape[0]
        starts = range(0, n_rows, self.rows_per_chunk)
        return [
            range(start, min(start + self.rows_per_chunk, n_rows))
            for start in starts
            if not all(self._chunk(task, start).exists() for task in self.tasks)
        ]

    def write_block(self, rows: range, logits: dict[str, NDArray[np.floating]]) -> None:
        """Write one block: task -> (len(rows), V, S, C)."""
        for task, classes in self.tasks.items():
            padded = np.full((self.rows_per_chunk, *self._shape[1:], classes), np.nan, np.float16)
            padded[: len(rows)] = logits[task]
            write_chunk(self._chunk(task, rows.start), padded)

    def read(self, task: str, view: int = 0) -> NDArray[np.float16]:
        """(N, S, C) of one view. Raises StoreError when a chunk fails its checksum."""
        try:
            return np.asarray(read_array(self.path / task, "logits").array[:, view])
        except StoreError:
            raise
        except Exception as error:  # zarr raises many kinds here; all mean the same to a user
            raise StoreError(
                f"{self.path / task} cannot be read ({error}). Remove {self.path}: "
                "the teacher logits are computed again."
            ) from error

    def _chunk(self, task: str, start: int) -> Path:
        return self.path / task / "c" / str(start // self.rows_per_chunk) / "0" / "0" / "0"
