"""Convert the times of annotations to seconds."""

import re

from mmcache.store.ground.text import excerpt

# Python and pandas write a number of days before it.
_TIMESTAMP = re.compile(r"(?:(\d+) days?,? )?(\d+):([0-5]\d):([0-5]\d(?:\.\d+)?)", re.ASCII)
_NUMBER = re.compile(r"-?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,2})?", re.ASCII)


def timestamp_s(text: str) -> float:
    """HH:MM:SS.ss (any number of decimals, minutes and seconds below 60) in seconds. Raises ValueError otherwise."""
    match = _TIMESTAMP.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"timestamp {excerpt(text)} is not HH:MM:SS.ss")
    days, hours, minutes, seconds = match.groups()
    return int(days or 0) * 86400 + int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def seconds_of(text: str, unit_s: float = 1.0) -> float:
    """A number of units, or HH:MM:SS.ss, in seconds; finite. Raises ValueError for anything else.

    MM:SS is not taken, because it may as well be HH:MM.
    """
    if _NUMBER.fullmatch(text):
        return float(text) * unit_s
    if _TIMESTAMP.fullmatch(text):
        return timestamp_s(text)
    units = "seconds" if unit_s == 1.0 else "milliseconds"
    comma = "; decimals have a point, not a comma" if "," in text else ""
    raise ValueError(f"{excerpt(text)} is no number of {units} such as 12.5, nor HH:MM:SS.ss{comma}")
