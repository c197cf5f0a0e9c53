"""Find annotation files, and read CSV files with required columns."""

from pathlib import Path
from typing import Any

import pandas as pd

from mmcache.store.files.csv_table import read_csv_table
from mmcache.store.files.json_file import read_json
from mmcache.store.ground.errors import ConfigError, Problems
from mmcache.store.ground.text import strip_cell

_MOST_JSON_BYTES = 4 << 30


def find_annotations(
    root: Path, annotations: Path | None, folders: tuple[str, ...], needed: list[str], what: str, url: str, media: str
) -> Path:
    """The folder that holds annotation files.

    Args:
        annotations: where the user says they are; None looks in `folders` of `root`.
        needed: the files without which there is nothing to do.
        what: the data set, for messages; `url` has its annotations, `media` its media.

    Raises:
        ConfigError: there is no such folder, or some of the files are missing; all of them are named.
    """
    if not root.is_dir():
        raise ConfigError(
            f"no folder {root}. Put {what} there (or say where it is with --root): "
            f"annotations from {url}, media with {media}"
        )
    if annotations is not None and not annotations.is_dir():
        raise ConfigError(f"no folder {annotations} (given as --annotations)")
    candidates = [annotations] if annotations is not None else [root / folder for folder in folders]
    for folder in candidates:
        if any((folder / name).exists() for name in needed):
            problems = Problems()
            for name in needed:
                if not (folder / name).exists():
                    problems.add(f"{folder / name} is missing; it is in {url}")
            problems.raise_if_any()
            return folder
    looked = ", ".join(str(folder) for folder in candidates)
    raise ConfigError(
        f"no {what} annotations in {looked}. They come from {url}: put them into {root}, or say where they are with "
        "--annotations DIR"
    )


def read_csv(path: Path, columns: list[str], problems: Problems) -> pd.DataFrame | None:
    """As read_csv_table, whose index is the file's lines; None where the table has problems or lacks columns.

    Cells are without white space and invisible marks around them.
    """
    try:
        table = read_csv_table(path).map(strip_cell)
    except ConfigError as error:
        problems.add(str(error))
        return None
    missing = [column for column in columns if column not in table.columns]
    if missing:
        problems.add(f"{path} lacks the columns {', '.join(missing)}; it has {', '.join(map(str, table.columns))}")
        return None
    return table


def refuse_if_all_are_lost(file: str, rows: int, lost: list[str]) -> None:
    """Raise ConfigError if none of a file's rows can be used, for example after a spreadsheet rewrote the times.

    Args:
        lost: why rows cannot be used, each with its place.
    """
    if rows and len(lost) == rows:
        raise ConfigError(
            f"none of the {rows} rows of {file} can be used; the first: {lost[0]}. If a spreadsheet or script has "
            "rewritten the file, take the original"
        )


def read_annotation_json(path: Path) -> Any:
    """The content of a JSON file of annotations. Raises ConfigError as store.json_file.read_json does."""
    return read_json(path, _MOST_JSON_BYTES)
