"""Read untrusted JSON within limits: an error names a damaged or hostile file before it fills the memory."""

import json
import re
from pathlib import Path
from typing import Any

from mmcache.store.files.text_file import read_text
from mmcache.store.ground.errors import ConfigError
from mmcache.store.ground.text import excerpt

_LIMIT_BYTES = 64 << 20
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def read_json(path: Path, limit: int = _LIMIT_BYTES) -> Any:
    """What a JSON file of at most `limit` bytes holds, in memory at about five times its size.

    Raises:
        ConfigError: the file cannot be read, is no JSON, nests too deeply, an object has a key twice, or a string is no
            text that a store can hold. The message has the file's name and the reason.
    """
    return parse_json(read_text(path, limit, "JSON"), str(path))


def read_json_lines(path: Path, first: int | None = None) -> list[Any]:
    """What each line of a file of JSON lines holds, or each of the first so many lines.

    Raises:
        ConfigError: the file or a line cannot be read; the message has the line, the file and the reason.
    """
    lines = read_text(path, _LIMIT_BYTES, "JSON").split("\n")[:first]
    return [parse_json(line, f"line {i} of {path}") for i, line in enumerate(lines, 1) if line.strip()]


def parse_json(text: str, where: str) -> Any:
    """What a JSON text holds. Raises ConfigError as read_json does; its message names `where`."""
    try:
        found = json.loads(text, object_pairs_hook=_object)
        if _SURROGATE.search(text):  # halves of a pair, which make no character alone
            json.dumps(found, ensure_ascii=False).encode()
        return found
    except RecursionError as error:
        raise ConfigError(f"{where} is not JSON that can be read: it nests too deeply") from error
    except UnicodeEncodeError as error:
        raise ConfigError(f"{where} is not JSON that can be read: a string has half of a surrogate pair") from error
    except ValueError as error:  # no JSON, a key that repeats, or a number of thousands of digits
        raise ConfigError(f"{where} is not JSON: {' '.join(str(error).split())[:200]}") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"{excerpt(twice)} is given twice")
    return found
