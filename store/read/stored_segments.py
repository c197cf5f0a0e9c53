"""Check segments.parquet, as read from a disk, against the metadata of the root."""

from pathlib import Path

import numpy as np
import pandas as pd

from mmcache.store.format.layout import StoreMeta
from mmcache.store.ground.errors import StoreError
from mmcache.store.ground.text import excerpt
from mmcache.store.segments.segment_table import REQUIRED, check_segments

_TEXT = ("id", "video", "split")


def check_segment_table(table: pd.DataFrame, meta: StoreMeta, path: Path) -> pd.DataFrame:
    """The table with its canonical dtypes and columns.

    Raises:
        StoreError: a column is missing or has wrong contents, a label is out of range, or the splits differ from those
            of `meta`.
    """
    problem = _wrong_columns(table, list(meta.tasks))
    if problem is None:
        try:
            table = check_segments(table, meta.tasks)
        except StoreError as error:
            problem = str(error)
    if problem is not None:
        raise StoreError(f"{path} is damaged: {problem}. `mmcache store verify --repair` may repair it")
    counted = {str(split): int(n) for split, n in table["split"].value_counts().items()}
    if counted != meta.splits:
        raise StoreError(
            f"{path} has {len(table)} segments in the splits {_shown(counted)}; the root says {_shown(meta.splits)}. "
            "One of the two is damaged"
        )
    return table


def _wrong_columns(table: pd.DataFrame, tasks: list[str]) -> str | None:
    """A fault of the columns that check_segments would convert silently or cannot process; None when there is none."""
    if not table.columns.is_unique or not all(isinstance(name, str) for name in table.columns):
        return "its columns are not named, each with a name of its own"
    for name in (column for column in _TEXT if column in table):
        kind = pd.api.types.infer_dtype(table[name], skipna=False)
        if table[name].isna().any() or kind not in ("string", "empty"):
            return f"column '{name}' must hold text in every row"
    for name in (column for column in REQUIRED if column in table and column not in _TEXT):
        seconds = table[name].to_numpy(np.float64) if pd.api.types.is_numeric_dtype(table[name]) else np.array([np.nan])
        endless = (seconds == np.inf) & (name == "stop_s")  # such a segment ends at the end of its media
        if not (np.isfinite(seconds) | endless).all():
            return f"column '{name}' must hold a number of seconds in every row"
    for name in (task for task in tasks if task in table):
        if not pd.api.types.is_numeric_dtype(table[name]):
            return f"column '{name}' must hold the number of a class in every row, or -1"
    return None


def _shown(splits: dict[str, int]) -> str:
    listed = ", ".join(f"{excerpt(name)}: {count}" for name, count in list(splits.items())[:8])
    return f"{{{listed}{', ...' if len(splits) > 8 else ''}}}"
