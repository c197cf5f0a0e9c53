"""subsets.parquet: what a run answered for every modality subset of every segment, checked as it is read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from mmcache.fuse.data.subsets import NATURAL
from mmcache.store.files.user_file import check_regular
from mmcache.store.ground.errors import ConfigError
from mmcache.store.ground.text import excerpt

_KINDS = {"label": "iu", "pred": "iu", "top1": "b", "top5": "b", "confidence": "f"}


def read_subsets(path: Path, saved: Mapping[str, Any]) -> pd.DataFrame:
    """The table of a run.

    Args:
        saved: the run's config.yaml, whose modalities and tasks the table must be of.

    Raises:
        ConfigError: it cannot be read, or is not what scoring writes; what is wrong is named.
    """
    try:
        check_regular(path)
        table = pd.read_parquet(path)
        wrong = _fault(table, saved["model"]["modalities"], saved["model"]["tasks"])
    except (pa.ArrowException, OSError, ValueError, TypeError, MemoryError) as error:
        wrong = " ".join(str(error).split())[:200]
    except (LookupError, AttributeError) as error:  # of pandas, which trusts its own metadata in the file
        wrong = f"what pandas has noted of its columns lacks {excerpt(str(error))}"
    if wrong:
        raise ConfigError(f"{path} is damaged ({wrong}): `mmcache evaluate --fresh` makes it again")
    return table


def _fault(table: pd.DataFrame, modalities: Mapping[str, Any], tasks: Mapping[str, list[str]]) -> str:
    """What is wrong with a table, '' where nothing is."""
    for name in ("id", "subset"):
        if name not in table.columns or not pd.api.types.is_string_dtype(table[name]) or table[name].isna().any():
            return f"it needs a column {name} of text"
    for task in tasks:
        wrong = _fault_of_task(table, task, len(tasks[task]))
        if wrong:
            return wrong
    for column in (name for name in table.columns if name.endswith(("_top1", "_top5"))):
        if table[column].dtype.kind != "b":
            return f"{column} is {table[column].dtype}, not true or false"
        if column.rpartition("_")[0] not in (*tasks, "action"):
            return f"{column} belongs to no task of the run"
    if {"verb", "noun"} <= set(tasks) and "action" not in tasks:
        both = table["verb_top1"] & table["noun_top1"]
        if "action_top1" not in table.columns or (table["action_top1"] != both).any():
            return "action_top1 is not whether verb and noun are both right"
    return _fault_of_subsets(table, modalities)


def _fault_of_task(table: pd.DataFrame, task: str, classes: int) -> str:
    for kind, dtypes in _KINDS.items():
        column = f"{task}_{kind}"
        if column not in table.columns:
            return f"it has no column {column}"
        if table[column].dtype.kind not in dtypes:
            return f"{column} is {table[column].dtype}, which is no {kind}"
    label, pred, confidence = (table[f"{task}_{kind}"].to_numpy() for kind in ("label", "pred", "confidence"))
    if len(label) and not (label.min() >= -1 and label.max() < classes and pred.min() >= 0 and pred.max() < classes):
        return f"{task} has {classes} classes, and some label or prediction is none of them"
    if not ((confidence >= 0) & (confidence <= 1.0001)).all():
        return f"{task}_confidence is not between 0 and 1"
    if (table[f"{task}_top1"].to_numpy() != (label == pred)).any():
        return f"{task}_top1 is not whether label and prediction agree"
    if (table[f"{task}_top1"] & ~table[f"{task}_top5"]).any():
        return f"{task}_top5 is false where {task}_top1 is true"
    return ""


def _fault_of_subsets(table: pd.DataFrame, modalities: Mapping[str, Any]) -> str:
    names = set(table["subset"]) - {NATURAL}
    for name in names:
        parts = name.split("+")
        if not set(parts) <= set(modalities) or sorted(set(parts)) != parts:
            return f"{excerpt(name)} is no subset of the run's modalities, {', '.join(modalities)}"
    occurring = {part for name in names for part in name.split("+")}
    complete = table[table["subset"] != NATURAL]
    each = complete.groupby("id")["subset"].agg(["size", "nunique"])
    expected = 2 ** len(occurring) - 1
    if names and (len(names) != expected or (each.to_numpy() != expected).any()):
        return f"not every segment has each of the {expected} modality subsets once"
    if (
        table.loc[table["subset"] == NATURAL, "id"].duplicated().any()
        or np.isin(table.loc[table["subset"] == NATURAL, "id"], each.index).any()
    ):
        return "a segment is in it twice"
    return ""
