"""File names in a folder of .npy files, and mmcache.json, which an export adds; npy_import.py has the format."""

import urllib.parse
from pathlib import Path
from typing import Any

from mmcache.store.files.json_file import read_json
from mmcache.store.ground.errors import ConfigError, Problems
from mmcache.store.ground.text import excerpt

TABLE, CLASSES, ABOUT = "segments.csv", "classes", "mmcache.json"
SEE_FORM = "see `mmcache store import --help` for the form"
_LIMIT_BYTES = 16 << 20  # of mmcache.json
_TYPES = {
    "dataset": (str, "text"),
    "eval_split": (str, "text"),
    "recommended": (dict, "a mapping"),
    "tasks": (list, "a list of column names"),
    "columns": (dict, "a mapping"),
    "fingerprints": (dict, "a mapping"),
}


def file_name(segment_id: str) -> str:
    """The file name of a segment: its percent-encoded id, so that no id can point outside of the folder."""
    return f"{urllib.parse.quote(segment_id, safe=' ')}.npy"


def read_about(folder: Path) -> dict[str, Any]:
    """The contents of mmcache.json, empty when there is none. Raises ConfigError when it has another form."""
    file = folder / ABOUT
    if not file.exists():
        return {}
    try:
        about = read_json(file, _LIMIT_BYTES)
    except ConfigError as error:
        raise ConfigError(f"{error}. Remove it to import without it.") from error
    if not isinstance(about, dict):
        raise ConfigError(f"{file} holds no mapping. Remove it to import without it.")
    problems = Problems()
    for name, (kind, words) in _TYPES.items():
        value = about.get(name, kind())
        texts = value if isinstance(value, list) else []
        if not isinstance(value, kind) or not all(isinstance(text, str) for text in texts):
            problems.add(f"'{name}' in {file} must be {words}, is {excerpt(value)}. Remove it to import without it.")
    problems.raise_if_any()
    return about
