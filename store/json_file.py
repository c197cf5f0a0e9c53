"""JSON that programs wrote, read with limits: damaged and hostile files are named, and fill no memory."""

import json
from pathlib import Path
from typing import Any

from mmcache.store.errors import ConfigError
from mmcache.store.text import excerpt
from mmcache.store.user_file import read_regular

_LIMIT_BYTES = 64 << 20


def read_json(path: Path) -> Any:
    """What a JSON file holds. Raises ConfigError with the file's name and the reason."""
    return parse_json(_text(path), str(path))


def read_json_lines(path: Path, first: int | None = None) -> list[Any]:
    """What each line of a file of JSON lines holds, or each of the first so many lines.

    Raises:
        ConfigError: the file or a line cannot be read; the message has the line, the file and the reason.
    """
    lines = _text(path).split("\n")[:first]
    return [parse_json(line, f"line {i} of {path}") for i, line in enumerate(lines, 1) if line.strip()]


def parse_json(text: str, where: str) -> Any:
    """What a JSON text holds, keys that repeat refused. Raises ConfigError, whose message names `where`."""
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError as error:
        raise ConfigError(f"{where} is not JSON that can be read: it nests too deeply") from error
    except ValueError as error:  # no JSON, a key that repeats, or a number of thousands of digits
        raise ConfigError(f"{where} is not JSON: {' '.join(str(error).split())[:200]}") from error


def _text(path: Path) -> str:
    try:
        return read_regular(path, _LIMIT_BYTES).decode()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not JSON: byte {error.start} is not UTF-8") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"{excerpt(twice)} is given twice")
    return found
