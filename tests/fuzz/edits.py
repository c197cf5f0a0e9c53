"""Ways to damage a file: strategies of hypothesis whose examples are functions from bytes to bytes.

`raw` edits bytes of any format. `table` edits lines and cells of CSV and other line-based text, `tree` the values of
JSON and YAML; both are mixed with raw edits, which break the syntax itself.
"""

import json
import random
import struct
from collections.abc import Callable
from typing import Any

import yaml
from hypothesis import strategies as st

Edit = Callable[[bytes], bytes]

_NUMBERS = (0, 1, -1, 2, 127, 128, 255, 256, 32767, 65535, 2**24, 2**31 - 1, -(2**31), 2**32 - 1, 2**40, 2**63 - 1)
_CELLS = (
    *("", " ", "nan", "NaN", "inf", "-inf", "-1", "0", "1", "2", "1e308", "1e-308", "-0.0", "9" * 20, "x", "1,5"),
    *("0x10", "00:00:61", "12:34:56.789", "None", "null", "true", '"', "'", "\\", "../../etc/passwd", "/dev/zero"),
    *("\x00", "\x1b[31m", "é", "\ud7ff", "\u202e", "a" * 300, "=1+1", "http://127.0.0.1:9/x", ";", "\t", "#", "[]"),
)
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 0.5, -0.5, 1e308, float("nan"), float("inf"), 2**31, 2**63, -(2**63), 10**30),
    *("", "x", "1", "nan", "../../x", "/etc/passwd", "\x1b[31m", "a" * 300, [], {}, [[]], [None], {"": None}),
    *([1, 2, 3], {"a": {"b": {}}}, ["x"] * 50, 77, 400, "int16", "float16", "uint8", 10**400),
)


def raw() -> st.SearchStrategy[Edit]:
    """One to four edits of bytes, half of them in the first 512, where headers are."""
    one = st.builds(
        _raw_edit,
        st.sampled_from(("flip", "byte", "number", "cut", "zero", "repeat", "insert", "end")),
        st.booleans(),
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 2**32 - 1),
    )
    return st.lists(one, min_size=1, max_size=4).map(_in_turn)


def table() -> st.SearchStrategy[Edit]:
    """One to three edits of lines and cells."""
    one = st.builds(
        _table_edit,
        st.sampled_from(
            ("cell", "cell", "cell", "header", "add cell", "drop cell", "drop line", "double line", "swap")
        ),
        st.integers(0, 2**32 - 1),
        st.sampled_from(_CELLS),
    )
    return st.one_of(st.lists(one, min_size=1, max_size=3).map(_in_turn), raw())


def tree(yaml_text: bool = False) -> st.SearchStrategy[Edit]:
    """One or two values of a JSON or YAML document replaced, removed, renamed or doubled."""
    one = st.builds(
        lambda what, at, value: _tree_edit(what, at, value, yaml_text),
        st.sampled_from(("replace", "replace", "replace", "remove", "rename", "nest", "double")),
        st.integers(0, 2**32 - 1),
        st.sampled_from(_VALUES),
    )
    return st.one_of(st.lists(one, min_size=1, max_size=2).map(_in_turn), raw(), st.sampled_from(_BOMBS).map(_become))


def _in_turn(edits: list[Edit]) -> Edit:
    def apply(data: bytes) -> bytes:
        for edit in edits:
            data = edit(data)
        return data

    return apply


def _become(other: bytes) -> Edit:
    return lambda data: other


def _raw_edit(what: str, early: bool, where: float, seed: int) -> Edit:
    def apply(data: bytes) -> bytes:
        if not data:
            return b"\0"
        draw = random.Random(seed)
        at = int(where * min(len(data), 512 if early else len(data)))
        length = draw.choice((1, 2, 4, 8, 16, 64, 256, 1024))
        match what:
            case "flip":
                return data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1 :]
            case "byte":
                return data[:at] + draw.randbytes(1) + data[at + 1 :]
            case "number":
                size = draw.choice("bhiq")
                form = draw.choice("<>") + size
                number = draw.choice(_NUMBERS) % (1 << 8 * struct.calcsize(form))
                packed = struct.pack(form.upper(), number)
                return data[:at] + packed + data[at + len(packed) :]
            case "cut":
                return data[:at] + data[at + length :]
            case "zero":
                return data[:at] + bytes(min(length, len(data) - at)) + data[at + length :]
            case "repeat":
                return data[:at] + data[at : at + length] * draw.choice((2, 3, 50)) + data[at + length :]
            case "insert":
                return data[:at] + draw.randbytes(length) + data[at:]
            case _:
                return data[:at]

    return apply


def _table_edit(what: str, seed: int, text: str) -> Edit:
    def apply(data: bytes) -> bytes:
        draw = random.Random(seed)
        lines = data.decode("utf-8", "surrogateescape").split("\n")
        at = draw.randrange(len(lines))
        separator = "," if "," in lines[0] else " "
        if what == "header":
            at = 0
        cells = lines[at].split(separator)
        cell = draw.randrange(len(cells))
        match what:
            case "cell" | "header":
                cells[cell] = text
            case "add cell":
                cells.insert(cell, text)
            case "drop cell":
                del cells[cell]
            case "drop line":
                del lines[at]
                return _lines(lines)
            case "double line":
                lines.insert(at, lines[at])
            case "swap":
                other = draw.randrange(len(lines))
                lines[at], lines[other] = lines[other], lines[at]
                return _lines(lines)
        lines[at] = separator.join(cells)
        return _lines(lines)

    return apply


def _lines(lines: list[str]) -> bytes:
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def _tree_edit(what: str, seed: int, value: Any, yaml_text: bool) -> Edit:
    def apply(data: bytes) -> bytes:
        try:
            document = yaml.safe_load(data) if yaml_text else json.loads(data)
        except (ValueError, yaml.YAMLError, RecursionError):
            return data  # an earlier edit broke the syntax
        places = list(_places(document))
        if not places:
            return json.dumps(value).encode()
        inside, key = random.Random(seed).choice(places)
        match what:
            case "replace":
                inside[key] = value
            case "remove":
                del inside[key]
            case "rename" if isinstance(inside, dict):
                inside[str(value)] = inside.pop(key)
            case "nest":
                inside[key] = [inside[key]]
            case "double" if isinstance(inside, list):
                inside.insert(key, inside[key])
            case _:
                inside[key] = str(inside[key])
        return (yaml.safe_dump(document) if yaml_text else json.dumps(document)).encode("utf-8", "surrogatepass")

    return apply


def _places(document: Any) -> Any:
    """(container, key or index) of every value below."""
    if isinstance(document, dict):
        for key, value in document.items():
            yield document, key
            yield from _places(value)
    elif isinstance(document, list):
        for index, value in enumerate(document[:50]):
            yield document, index
            yield from _places(value)


_ALIASES = [b"a0: &a0 [x, x, x, x, x, x, x, x, x, x]"] + [
    b"a%d: &a%d [%s]" % (i, i, b", ".join([b"*a%d" % (i - 1)] * 10)) for i in range(1, 12)
]
_BOMBS = (b"[" * 200_000, b'{"a":' * 200_000, b"\n".join(_ALIASES), b"&a [*a]", b"", b"null", b"[]", b"0", b'"x"')
