"""segments.parquet: one row per segment; row i belongs to row i of every array in the store."""

import hashlib
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd

from mmcache.store.ground.errors import StoreError

REQUIRED = ("id", "video", "start_s", "stop_s", "split")
UNLABELLED = -1
_TASK = re.compile(r"[a-z][a-z0-9_]{0,49}")


def is_task_name(name: str) -> bool:
    """Whether `name` can be the name of a task, which is a column of the table."""
    return _TASK.fullmatch(name) is not None and name not in REQUIRED


def check_segments(segments: pd.DataFrame, tasks: dict[str, list[str]]) -> pd.DataFrame:
    """Return `segments` with the canonical dtypes and column order.

    Raises:
        StoreError: a column is missing, an id repeats, a span is not positive, or a label is out of range.
    """
    missing = [column for column in (*REQUIRED, *tasks) if column not in segments.columns]
    if missing:
        raise StoreError(f"segments lack the columns {', '.join(missing)}")
    bad_tasks = [task for task in tasks if not is_task_name(task)]
    if bad_tasks:
        raise StoreError(f"'{bad_tasks[0]}' cannot name a task: use lower-case letters, digits and '_'")
    repeated = segments["id"][segments["id"].duplicated()]
    if len(repeated):
        more = f" and {len(repeated) - 1} more" if len(repeated) > 1 else ""
        raise StoreError(f"segment ids must be unique; '{repeated.iloc[0]}'{more} repeat")
    start, stop = (pd.to_numeric(segments[column], errors="coerce") for column in ("start_s", "stop_s"))
    backwards = segments["id"][~(stop > start)]
    if len(backwards):
        raise StoreError(f"segment '{backwards.iloc[0]}' does not stop after it starts ({len(backwards)} such)")
    for task, classes in tasks.items():
        labels = pd.to_numeric(segments[task], errors="coerce")
        wrong = segments["id"][~((labels >= UNLABELLED) & (labels < len(classes)) & (labels % 1 == 0))]
        if len(wrong):
            raise StoreError(
                f"segment '{wrong.iloc[0]}' has a {task} label outside -1..{len(classes) - 1} ({len(wrong)} such)"
            )
    extras = [column for column in segments.columns if column not in REQUIRED and column not in tasks]
    table = segments[[*REQUIRED, *tasks, *extras]].reset_index(drop=True)
    types = {"id": str, "video": str, "split": str, "start_s": np.float64, "stop_s": np.float64}
    return table.astype({**types, **dict.fromkeys(tasks, np.int32)})


def segments_to_bytes(segments: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    segments.to_parquet(buffer, index=False, engine="pyarrow")
    return buffer.getvalue()


def segments_from_bytes(data: bytes) -> pd.DataFrame:
    return pd.read_parquet(io.BytesIO(data), engine="pyarrow")


def read_segments(path: Path, sha256: str | None = None) -> pd.DataFrame:
    """The table at `path`. Raises StoreError when it cannot be read, or does not match its digest."""
    damaged = f"{path} is damaged; `mmcache store verify --repair` repairs it from its spare copy"
    try:
        data = path.read_bytes() if path.exists() else b""
    except Exception as error:  # at an address: file systems raise many kinds here
        raise StoreError(f"{path} cannot be read: {error}") from error
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise StoreError(f"{damaged} (it fails its checksum)")
    try:
        return segments_from_bytes(data)
    except Exception as error:  # a damaged footer makes the library raise exceptions of many kinds
        raise StoreError(f"{damaged} (it cannot be read: {error})") from error
