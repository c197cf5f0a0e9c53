"""Colours, markers and lines that tell methods apart, in print and for those who see few colours."""

from typing import NamedTuple

# Okabe and Ito's colours, without their yellow, which is hardly seen on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", "p", "*", ">")
LINES = ("-", "--", ":", "-.")
GREY = "#d0d0d0"


class Style(NamedTuple):
    colour: str
    marker: str
    line: str


def style(place: int) -> Style:
    """The style of the place-th method. Colours, markers and lines go round at different paces, so that two methods
    never share all three: the first repeat is after 7 x 11 x 4."""
    return Style(
        COLOURS[place % len(COLOURS)],
        MARKERS[place % len(MARKERS)],
        LINES[place // len(COLOURS) % len(LINES)],
    )
