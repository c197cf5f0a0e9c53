"""The form of an HDF5 interchange file (see hdf5.py), checked whole before anything is written."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mmcache.store import layout
from mmcache.store.errors import Problems, StoreError
from mmcache.store.segments import UNLABELLED, is_task_name

_GROUPS = ("features", "labels")
_OPTIONAL_GROUPS = ("lengths", "present", "classes", "segments")
_VECTORS = ("ids", "split")


def is_text(dataset: h5py.Dataset) -> bool:
    return dataset.dtype.kind in "SU" or h5py.check_string_dtype(dataset.dtype) is not None


def read_text(dataset: h5py.Dataset) -> list[str]:
    """A vector of strings of any of HDF5's kinds, UTF-8; numbers become their digits."""
    return [value.decode() if isinstance(value, bytes) else str(value) for value in dataset[:].tolist()]


def check_form(file: h5py.File, source: Path) -> None:
    """Raise ConfigError naming every way in which the file is not of the documented form."""
    problems = Problems()
    for name in (*_GROUPS, *_VECTORS):
        if name not in file:
            problems.add(f"{source} lacks '{name}'; see `mmcache store import --help` for the form")
    datasets: dict[str, dict[str, h5py.Dataset]] = {}
    for group in (*_GROUPS, *_OPTIONAL_GROUPS):
        datasets[group] = _datasets(file, group, problems)
    n = _count(file, problems)
    for name in _VECTORS:
        if name in file:
            _check_vector(name, file[name], n, problems)
    for group in ("labels", "lengths", "present", "segments"):
        for name, values in datasets[group].items():
            _check_vector(f"{group}/{name}", values, n, problems)
    _check_features(datasets, n, source, problems)
    for task, labels in datasets["labels"].items():
        _check_labels(task, labels, problems, task in datasets["classes"])
    for task, classes in datasets["classes"].items():
        if task not in datasets["labels"]:
            problems.add(f"'classes/{task}' has no 'labels/{task}'")
        if classes.ndim != 1:
            problems.add(f"'classes/{task}' must be a vector of strings, has shape {classes.shape}")
    problems.raise_if_any()


def _datasets(file: h5py.File, group: str, problems: Problems) -> dict[str, h5py.Dataset]:
    """The data sets of a group; what is nested or no group is a problem."""
    if group not in file:
        return {}
    if not isinstance(file[group], h5py.Group):
        problems.add(f"'{group}' must be a group of data sets, is a data set of shape {file[group].shape}")
        return {}
    nested = [name for name, member in file[group].items() if not isinstance(member, h5py.Dataset)]
    for name in nested:
        problems.add(f"'{group}/{name}' must be a data set, is a group")
    return {name: member for name, member in file[group].items() if name not in nested}


def _count(file: h5py.File, problems: Problems) -> int | None:
    """The number of ids, or None where there is no such vector."""
    ids = file.get("ids")
    if not isinstance(ids, h5py.Dataset) or ids.ndim != 1:
        if ids is not None:
            problems.add("'ids' must be a vector of strings")
        return None
    if not len(ids):
        problems.add("'ids' is empty: there is nothing to import")
    return len(ids)


def _check_vector(name: str, values: Any, n: int | None, problems: Problems) -> None:
    shape = values.shape if isinstance(values, h5py.Dataset) else None
    if n is not None and (shape is None or shape[:1] != (n,)):
        problems.add(f"'{name}' has shape {shape}, but there are {n} ids")
    elif shape is None or len(shape) != 1:
        problems.add(f"'{name}' must be a vector, has shape {shape}")


def _check_features(
    datasets: dict[str, dict[str, h5py.Dataset]], n: int | None, source: Path, problems: Problems
) -> None:
    features = datasets["features"]
    if not features:
        problems.add(f"{source} has no modality under 'features'")
    for modality, tokens in features.items():
        try:
            layout.check_name("modality", modality)
        except StoreError as error:
            problems.add(str(error))
        if tokens.ndim != 3:
            problems.add(f"'features/{modality}' must be (N, T, D), has shape {tokens.shape}")
        elif not tokens.shape[1] * tokens.shape[2]:
            problems.add(f"'features/{modality}' has shape {tokens.shape}: there are no tokens in it")
        elif n is not None and len(tokens) != n:
            problems.add(f"'features/{modality}' has shape {tokens.shape}, but there are {n} ids")
        if tokens.dtype.name not in layout.TOKEN_DTYPES:
            problems.add(f"'features/{modality}' is {tokens.dtype}; allowed: {', '.join(layout.TOKEN_DTYPES)}")
    for group in ("present", "lengths"):
        for modality, values in datasets[group].items():
            if modality not in features:
                problems.add(f"'{group}/{modality}' has no 'features/{modality}'")
            elif values.shape == (n,):
                present = datasets["present"].get(modality)
                _check_values(group, modality, values[:], present, features[modality], problems)


def _check_values(
    group: str,
    modality: str,
    values: np.ndarray,
    present: h5py.Dataset | None,
    features: h5py.Dataset,
    problems: Problems,
) -> None:
    if group == "present":
        if not np.isin(values, (0, 1)).all():
            problems.add(f"'present/{modality}' must be 0 or 1 for each segment")
        return
    tokens = features.shape[1] if features.ndim == 3 else 0
    there = np.ones(len(values), bool) if present is None or present.shape != values.shape else present[:] == 1
    if values.dtype.kind not in "iu" or ((values < 1) | (values > tokens))[there].any():
        problems.add(f"'lengths/{modality}' must be whole numbers from 1 to {tokens} where the segment is present")


def _check_labels(task: str, labels: h5py.Dataset, problems: Problems, named: bool) -> None:
    if not is_task_name(task):
        problems.add(f"'{task}' cannot name a task: use lower-case letters, digits and '_'")
    numbers = labels.dtype.kind in "iufb" and np.isfinite(labels[()]).all()
    if not numbers or not (labels[()] % 1 == 0).all() or (labels[()] < UNLABELLED).any():
        problems.add(f"'labels/{task}' must be whole numbers, -1 where there is none; names go to 'classes/{task}'")
    elif not named and labels.size and int(labels[()].max()) > max(1000, 10 * labels.size):
        highest = int(labels[()].max())
        problems.add(f"'labels/{task}' goes up to {highest} for {labels.size} segments; name them in 'classes/{task}'")
