"""Tables that users write themselves, CSV, Parquet or JSON, as text: one form whatever they were written in."""

import re
from pathlib import Path

import pandas as pd
import pyarrow
import pyarrow.parquet

from mmcache.extract.datasets.files.annotation_files import read_annotation_json
from mmcache.store.files.csv_table import check_columns, read_csv_table
from mmcache.store.files.user_file import check_regular
from mmcache.store.ground.errors import ConfigError
from mmcache.store.ground.text import strip_cell

_PARQUET = (".parquet", ".parq", ".pq")
_A_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_UNNAMED_INDEX = re.compile(r"__index_level_\d+__")  # what pandas calls one in Parquet


def read_table(path: Path) -> pd.DataFrame:
    """Every cell as text without white space and invisible marks around it, '' where it is empty or null.

    Rows without any text are left out. Lengths of time, which Parquet has as a type, become seconds.

    Returns:
        A table whose index says where a row is (see `place`): the line on which it starts in a CSV file; in the
        others the row's number, counted from 2 on, as lines below a header would be.

    Raises:
        ConfigError: the file cannot be read, or its rows or names of columns are at fault; see read_csv_table.
    """
    try:
        if _is_parquet(path):
            check_regular(path)
            # The index that pandas saved is a column like the others, or ids that were made the index would be lost.
            found = pyarrow.parquet.read_table(path)
            found = _plain_types(found)
            found.validate(full=True)  # or text that is not UTF-8 is found when a cell is first looked at
            table = found.to_pandas(ignore_metadata=True)
            table = table[[name for name in table.columns if not _UNNAMED_INDEX.fullmatch(name)]]
        elif path.suffix == ".json":
            table = pd.DataFrame(read_annotation_json(path))
        else:
            table = read_csv_table(path)
    except ConfigError:
        raise
    except Exception as error:  # pandas and pyarrow raise many kinds here
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError(f"{path} is no readable table: {' '.join(reason.split())[:300]}") from error
    table.columns = pd.Index([str(name).strip() for name in table.columns], dtype=object)
    check_columns(table.columns.tolist(), str(path))
    if _has_rows(path):
        table.index = pd.RangeIndex(2, 2 + len(table))
    table = table.astype(object).where(table.notna(), "").map(lambda cell: strip_cell(str(cell)))
    return table[(table != "").any(axis=1)] if len(table.columns) else table


def place(path: Path, index: int) -> str:
    """The place of a row of `read_table`, for messages."""
    return f"{path.name} row {index - 1}" if _has_rows(path) else f"{path.name} line {index}"


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() in _PARQUET


def _has_rows(path: Path) -> bool:
    """Whether a file has rows, not lines."""
    return _is_parquet(path) or path.suffix == ".json"


def _plain_types(found: pyarrow.Table) -> pyarrow.Table:
    """Bytes as text, which is checked afterwards, and lengths of time as seconds."""
    for number, field in enumerate(found.schema):
        column = found.column(number)
        if pyarrow.types.is_binary(field.type) or pyarrow.types.is_large_binary(field.type):
            found = found.set_column(number, field.name, column.cast(pyarrow.large_string(), safe=False))
        elif pyarrow.types.is_duration(field.type):
            seconds = [
                None if value is None else value / _A_SECOND[field.type.unit]
                for value in column.cast(pyarrow.int64()).to_pylist()
            ]
            found = found.set_column(number, field.name, pyarrow.array(seconds, pyarrow.float64()))
    return found
