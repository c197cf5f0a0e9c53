"""Check the numbers of annotation files."""

import math
from typing import TypeGuard


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


def class_number(text: str) -> int | None:
    """As whole_number; also '17.0', as pandas writes whole numbers of a column with gaps."""
    return whole_number(text.removesuffix(".0"))
