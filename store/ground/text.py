"""Prepare text from files and users for messages: cut to a length, control characters shown as escapes."""

import re

_LIMIT = 80
# C0 and C1 controls, line and paragraph separators, marks that reorder text on a screen, and lone surrogates. Tab and
# newline are layout in our own messages and stay.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


# White space, and marks without width that come along when text is copied from elsewhere.
_INVISIBLE = "\\s\u00ad\u200b-\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff"
_AROUND = re.compile(f"^[{_INVISIBLE}]+|[{_INVISIBLE}]+$")


def strip_cell(text: str) -> str:
    """The text of a cell without white space and invisible marks around it."""
    return _AROUND.sub("", text)


def printable(text: str) -> str:
    """`text` with every control character as an escape such as \\x1b, so that it cannot steer a terminal."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def excerpt(value: object, limit: int = _LIMIT) -> str:
    """`value` for a message: on one line, strings in quotes, at most `limit` characters.

    Large and nested containers are described by their kind and size instead of being printed: a few lines of YAML can
    expand to gigabytes of text.
    """
    if isinstance(value, (dict, list, tuple, set, frozenset)):
        simple = len(value) <= 8 and all(isinstance(item, (str, int, float, bool, type(None))) for item in value)
        if isinstance(value, dict) or not simple:
            kind = "mapping" if isinstance(value, dict) else "list"
            return f"a {kind} of {len(value)} {'entry' if len(value) == 1 else 'entries'}"
    text = printable(repr(value[: 2 * limit] if isinstance(value, (str, bytes)) else value))
    return text if len(text) <= limit else f"{text[: limit - 4]}...{text[-1]}"
