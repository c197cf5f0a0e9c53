"""Check an HDF5 file against the format (see hdf5_import.py), completely, before anything is written to the store."""

import dataclasses
import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmcache.store.files.csv_table import check_columns
from mmcache.store.files.hdf5_reading import (
    UnusableMember,
    check_row_size,
    check_stored,
    dtype_of,
    find,
    is_text,
    names_in,
    text_attribute,
    texts_of,
    values_of,
    written_rows,
)
from mmcache.store.format import layout
from mmcache.store.ground.errors import ConfigError, Problems, StoreError
from mmcache.store.segments.segment_table import UNLABELLED, is_task_name
from mmcache.store.segments.splits import canonical_splits

_GROUPS = ("features", "labels")
_OPTIONAL_GROUPS = ("lengths", "present", "classes", "segments")
_MEMBERS = (*_GROUPS, *_OPTIONAL_GROUPS, "split", "ids")
_ATTRIBUTES = ("dataset", "eval_split", "recommended")
_LARGEST_LABEL = 2**31 - 1
Value = TypeVar("Value")


@dataclasses.dataclass
class Contents:
    """The contents of a file in the documented format, without the tokens.

    Attributes:
        n: segments.
        ids: None = the file has none.
        split: split names as stored, see canonical_split.
        written: modality -> (N,) bool, whether all tokens of a row were written.
        columns: name -> values of further columns of the segments.
        said: attribute of the file -> its text.
        unread: members of the file that are not part of the format.
    """

    n: int
    ids: list[str] | None
    split: list[str]
    features: dict[str, h5py.Dataset]
    written: dict[str, NDArray[np.bool_]]
    present: dict[str, NDArray[Any]]
    lengths: dict[str, NDArray[Any]]
    labels: dict[str, NDArray[Any]]
    classes: dict[str, list[str]]
    columns: dict[str, Any]
    said: dict[str, str]
    unread: list[str]


def read_contents(file: h5py.File, source: Path) -> Contents:
    """Read everything but the tokens. Raises ConfigError that lists all faults of the file."""
    read = _Reader(file, source)
    for name in (*_GROUPS, "split"):
        read.require(name)
    unread = read.unread()
    datasets = {group: read.members(group) for group in (*_GROUPS, *_OPTIONAL_GROUPS)}
    ids, split = read.texts("ids"), read.texts("split")
    rows = [len(found) for found in (ids, split) if found is not None]
    rows += [features.shape[0] for features in datasets["features"].values() if features.ndim]
    n = rows[0] if rows else 0
    if rows and not n:
        read.problems.add(f"{source} has no segments ('{'ids' if ids is not None else 'split'}' is empty)")
    counted = f"there are {n} {'ids' if ids is not None else 'segments'}"
    if split is not None and len(split) != n:
        read.problems.add(f"'split' has shape ({len(split)},), but {counted}")

    vectors = {
        group: read.vectors(group, datasets[group], n, counted)
        for group in ("labels", "lengths", "present", "segments")
    }
    if datasets["segments"]:
        read.use("segments", lambda: check_columns(list(datasets["segments"]), f"'segments' of {source}"))
    classes = {name: read.use(f"classes/{name}", lambda d=d: texts_of(d)) for name, d in datasets["classes"].items()}  # type: ignore[misc]
    for task in classes.keys() - datasets["labels"].keys():
        read.problems.add(f"'classes/{task}' has no 'labels/{task}'")
    for task, labels in vectors["labels"].items():
        _check_labels(task, labels, read.problems, task in datasets["classes"])
    for task in datasets["labels"]:
        if not is_task_name(task):
            read.problems.add(f"'{task}' cannot name a task: use lower-case letters, digits and '_'")
    written = _check_features(read, datasets["features"], n, counted)
    for group in ("present", "lengths"):
        for modality in datasets[group].keys() - datasets["features"].keys():
            read.problems.add(f"'{group}/{modality}' has no 'features/{modality}'")
    _check_counts(vectors, datasets["features"], read.problems)
    said = {name: read.use("", lambda name=name: text_attribute(file, name)) for name in _ATTRIBUTES}  # type: ignore[misc]
    splits = canonical_splits(pd.Series(split or [], dtype=object), f"'split' of {source}", read.problems)
    read.problems.raise_if_any()
    return Contents(
        n=n,
        ids=ids,
        split=splits.tolist(),
        features=datasets["features"],
        written=written,
        present=vectors["present"],
        lengths=vectors["lengths"],
        labels=vectors["labels"],
        classes={task: names for task, names in classes.items() if names is not None},
        columns=vectors["segments"],
        said={name: text for name, text in said.items() if text is not None},
        unread=unread,
    )


class _Reader:
    """Reads members of one file; a member that cannot be read adds a problem and gives None."""

    def __init__(self, file: h5py.File, source: Path) -> None:
        self._file, self._source = file, source
        self.problems = Problems()
        root = self.use("", lambda: find(file, "/"))
        self._names = (self.use("", lambda: names_in(root)) or []) if isinstance(root, h5py.Group) else []

    def use(self, where: str, access: Callable[[], Value]) -> Value | None:
        try:
            return access()
        except (UnusableMember, ConfigError) as error:
            name = f"'{where}' of {self._source}" if where else str(self._source)
            self.problems.add(f"{name} {error}" if isinstance(error, UnusableMember) else str(error))
            return None

    def require(self, name: str) -> None:
        if not self._has(name):
            self.problems.add(f"{self._source} lacks '{name}'; see `mmcache store import --help` for the form")

    def unread(self) -> list[str]:
        """Members that are not part of the format; adds a problem if a name is close to one of the format."""
        others = [name for name in self._names if name not in _MEMBERS]
        absent = [name for name in _MEMBERS if name not in self._names]
        for name in others:
            near = difflib.get_close_matches(name.casefold(), absent, n=1, cutoff=0.7)
            if near:
                self.problems.add(
                    f"'{name}' of {self._source} is not part of the format; did you mean '{near[0]}'? "
                    "Rename it, or remove it if it means something else"
                )
        return others

    def _has(self, name: str) -> bool:
        return name in self._names

    def members(self, group: str) -> dict[str, h5py.Dataset]:
        """Name -> data set of a group, each of numbers or text; adds problems for nested groups and other members."""
        found = self.use(group, lambda: find(self._file, group))
        if found is None:
            return {}
        if not isinstance(found, h5py.Group):
            self.problems.add(f"'{group}' must be a group of data sets, is a data set")
            return {}
        out = {}
        for name in self.use(group, lambda: names_in(found)) or []:
            dataset = self._dataset(f"{group}/{name}")
            if dataset is not None:
                out[name] = dataset
        return out

    def _dataset(self, where: str) -> h5py.Dataset | None:
        """The data set if it can be read (numbers or text, stored in this file); else adds a problem."""
        found = self.use(where, lambda: find(self._file, where))
        if isinstance(found, h5py.Group):
            self.problems.add(f"'{where}' must be a data set, is a group")
        if not isinstance(found, h5py.Dataset):
            return None
        dataset = found

        def check() -> h5py.Dataset:
            dtype_of(dataset)
            check_stored(dataset)
            return dataset

        return self.use(where, check)

    def texts(self, where: str) -> list[str] | None:
        if not self._has(where):
            return None
        dataset = self._dataset(where)
        return None if dataset is None else self.use(where, lambda: texts_of(dataset))

    def vectors(self, group: str, datasets: dict[str, h5py.Dataset], n: int, counted: str) -> dict[str, Any]:
        """Name -> the n numbers of each data set of a group; of 'segments', texts where it holds text."""
        out = {}
        for name, dataset in datasets.items():
            where, texts = f"{group}/{name}", group == "segments" and is_text(dtype_of(dataset))
            if dataset.shape != (n,):
                wrong = f"but {counted}" if dataset.shape[:1] != (n,) else "must be a vector"
                self.problems.add(f"'{where}' has shape {dataset.shape}, {wrong}")
                continue
            values = self.use(where, lambda d=dataset, t=texts: texts_of(d) if t else values_of(d))  # type: ignore[misc]
            if values is not None:
                out[name] = values
        return out


def _check_features(
    read: _Reader, features: dict[str, h5py.Dataset], n: int, counted: str
) -> dict[str, NDArray[np.bool_]]:
    written = {}
    problems = read.problems
    if not features and not any("features" in message for message in problems.messages):
        problems.add("no modality under 'features' can be imported; see `mmcache store import --help` for the form")
    for modality, tokens in features.items():
        where, before = f"features/{modality}", len(problems.messages)
        try:
            layout.check_name("modality", modality)
        except StoreError as error:
            problems.add(str(error))
        if tokens.ndim != 3:
            problems.add(f"'{where}' must be (N, T, D), has shape {tokens.shape}")
        elif not tokens.shape[1] * tokens.shape[2]:
            problems.add(f"'{where}' has shape {tokens.shape}: there are no tokens in it")
        elif len(tokens) != n:
            problems.add(f"'{where}' has shape {tokens.shape}, but {counted}")
        if tokens.dtype.name not in layout.FLOAT_DTYPES:
            advice = "; multiply int8 tokens by their scale, --dtype int8 stores them so" * (tokens.dtype.kind in "iu")
            problems.add(f"'{where}' is {tokens.dtype}; allowed: {', '.join(layout.FLOAT_DTYPES)}{advice}")
        if len(problems.messages) == before:
            read.use(where, lambda tokens=tokens: check_row_size(tokens))  # type: ignore[misc]
            rows = read.use(where, lambda tokens=tokens: written_rows(tokens))  # type: ignore[misc]
            if rows is not None:
                written[modality] = rows
    return written


def _check_counts(vectors: dict[str, dict[str, Any]], features: dict[str, h5py.Dataset], problems: Problems) -> None:
    """Presence and lengths of the modalities that have features."""
    for modality, present in vectors["present"].items():
        if present.dtype.kind not in "iufb" or not np.isin(present, (0, 1)).all():
            problems.add(f"'present/{modality}' must be 0 or 1 for each segment")
    for modality, lengths in vectors["lengths"].items():
        if modality in features and features[modality].ndim == 3:
            tokens, there = features[modality].shape[1], vectors["present"].get(modality)
            there = np.ones(len(lengths), bool) if there is None else there == 1
            if lengths.dtype.kind not in "iu" or ((lengths < 1) | (lengths > tokens))[there].any():
                problems.add(
                    f"'lengths/{modality}' must be whole numbers from 1 to {tokens} where the segment is present"
                )


def _check_labels(task: str, labels: NDArray[Any], problems: Problems, named: bool) -> None:
    numbers = labels.dtype.kind in "iufb" and bool(np.isfinite(labels).all())
    if not numbers or not (labels % 1 == 0).all() or (labels < UNLABELLED).any() or (labels > _LARGEST_LABEL).any():
        problems.add(f"'labels/{task}' must be whole numbers, -1 where there is none; names go to 'classes/{task}'")
    elif labels.dtype.kind == "u" and not named and labels.size and labels.max() == np.iinfo(labels.dtype).max:
        problems.add(
            f"'labels/{task}' is {labels.dtype} and has {labels.max()}, which is -1 in unsigned numbers: "
            f"write it as int32, -1 where there is no label; if it is a class, name the classes in 'classes/{task}'"
        )
    elif not named and labels.size and int(labels.max()) > max(1000, 10 * labels.size):
        highest = int(labels.max())
        problems.add(f"'labels/{task}' goes up to {highest} for {labels.size} segments; name them in 'classes/{task}'")
