"""JSON annotation files: what is wrong with one is said with its path, never by a traceback."""

import json
import math
import re
from pathlib import Path
from typing import Any, TypeGuard

from mmcache.store.errors import ConfigError
from mmcache.store.text import excerpt
from mmcache.store.user_file import read_regular

_LIMIT_BYTES = 4 << 30
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def read_json(path: Path) -> Any:
    """The content of a JSON file, held in memory whole, at about five times its size.

    Raises:
        ConfigError: it cannot be read, is no JSON, nests too deeply, an object has a key twice, or a string is no
            text that a store can hold.
    """
    try:
        data = read_regular(path, _LIMIT_BYTES)
        found = json.loads(data, object_pairs_hook=_object)
        if _SURROGATE.search(data):  # halves of a pair, which make no character alone
            json.dumps(found, ensure_ascii=False).encode()
        return found
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except RecursionError as error:
        raise ConfigError(f"{path} is no readable JSON: it nests too deeply") from error
    except UnicodeEncodeError as error:
        raise ConfigError(f"{path} is no readable JSON: it has half of a surrogate pair in a string") from error
    except ValueError as error:  # no JSON, no UTF-8, or a number of thousands of digits
        raise ConfigError(f"{path} is no readable JSON: {' '.join(str(error).split())[:200]}") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"an object has the key {excerpt(twice)} twice")
    return found


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value of JSON is a finite number that fits a float; true and false are none."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number of hundreds of digits
        return False


def is_count(value: object, below: int) -> TypeGuard[int | float]:
    """Whether a value of JSON is one of 0, 1, ... `below` - 1."""
    return is_number(value) and 0 <= value < below and value == int(value)


def whole_number(text: str) -> int | None:
    """The value of '0', '17' ..., written in the digits 0 to 9 alone; None for any other text."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
