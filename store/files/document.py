"""Read the JSON documents of a store within limits, and check them against dataclasses: the files are untrusted."""

import functools
import json
from pathlib import Path
from typing import Any, TypeVar

import pydantic

from mmcache.store.files.json_file import parse_json
from mmcache.store.files.user_file import read_regular
from mmcache.store.ground.errors import ConfigError, StoreError
from mmcache.store.ground.text import excerpt, printable

MAX_BYTES = 64 << 20  # a root with a million class names has a quarter of that
MAX_DEPTH = 64  # of nested lists and mappings
_SHOWN = 5  # faults that a message lists
Typed = TypeVar("Typed")


def parse_document(data: bytes) -> Any:
    """The value of a JSON document. Raises ValueError where it is no JSON or nested too deeply."""
    try:
        value = parse_json(data.decode(), "it")
    except ConfigError as error:
        raise ValueError(str(error)) from error
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for item in level for inner in _members(item)]
        if not level:
            return value
    raise ValueError(f"its lists and mappings are nested more than {MAX_DEPTH} deep")


def _members(value: Any) -> list[Any]:
    """The lists and mappings directly inside a value."""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [item for item in items if isinstance(item, (dict, list))]


def read_bytes(path: Path) -> bytes:
    """The bytes of a metadata file on a disk or at an address. Raises OSError and, at an address, many other kinds."""
    return read_regular(path, MAX_BYTES) if isinstance(path, Path) else path.read_bytes()


def typed(kind: type[Typed], value: Any, where: str) -> Typed:
    """`value`, which came from JSON, as the dataclass `kind`, whose fields' types it must have.

    Raises:
        StoreError: a field is missing or has another type; `where` begins the message, which names each.
    """
    hashable: Any = kind
    try:
        found: Typed = _adapter(hashable).validate_json(json.dumps(value))
        return found
    except pydantic.ValidationError as error:
        faults = []
        for fault in error.errors(include_url=False)[:_SHOWN]:
            place = ".".join(str(step) for step in fault["loc"])
            got = "" if fault["type"] == "missing" else f", got {excerpt(fault['input'])}"
            faults.append(printable(f"{place}: {fault['msg']}{got}"))
        more = f"; {error.error_count() - _SHOWN} more faults" if error.error_count() > _SHOWN else ""
        raise StoreError(f"{where} is not as it should be: {'; '.join(faults)}{more}") from None


@functools.cache
def _adapter(kind: Any) -> "pydantic.TypeAdapter[Any]":
    return pydantic.TypeAdapter(kind)
