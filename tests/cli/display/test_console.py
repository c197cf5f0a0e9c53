"""Whatever data says, the terminal shows it as text: nothing in it is a control character, markup or an emoji code."""

import io
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcache.cli.display import console
from mmcache.cli.display.console import Bars, say, say_error, table, warn

STEERS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
HOSTILE = [
    "\x1b[2J\x1b]0;title\x07", "a\rb", "bell\x07", "\x9b31m", "abc\u202ecba", "\u2066x\u2069", "\ud800", "tab\tbed",
    "\x00", "[red]x[/]", "[/]", "[link=file:///etc/passwd]x[/link]", ":warning:", "\\[bold]", "\x85", "\u2028",
]  # fmt: skip
TEXTS = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(), max_size=40)).map(lambda text: f"<{text}>")


def steers(character: str) -> bool:
    """Whether a terminal does something else with it than show it; newline apart."""
    return character != "\n" and (
        unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
        or unicodedata.bidirectional(character) in STEERS
        or character in "\u200e\u200f\u061c"
    )


def shown(show: Callable[[], None]) -> str:
    with console.err.capture() as captured:
        show()
    return captured.get()


@given(TEXTS)
@pytest.mark.parametrize("show", [say, warn, say_error, console.err.print])
def test_messages_hold_no_control_character_but_newline(show: Callable[[str], None], text: str) -> None:
    said = shown(lambda: show(text))
    assert not [character for character in said if steers(character)]
    if not any(map(steers, text)):
        assert text in said, "what steers nothing is shown as it is"


@given(st.lists(TEXTS, min_size=3, max_size=3))
def test_tables_and_bars_hold_none_either(texts: list[str]) -> None:
    title, column, cell = texts

    def show() -> None:
        console.err.print(table(title, [column, "n"], [[cell, 3]]))

    assert not [character for character in shown(show) if steers(character)]


@pytest.mark.parametrize("text", HOSTILE)
def test_bars_show_names_and_notes_as_text(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr(console.err, "_file", file)
    with Bars() as bars:
        bars.update(f"name {text}", 1, 2, "segments", f"note {text}")
    drawn = file.getvalue()
    assert "name" in drawn
    assert "note" in drawn
    assert not [character for character in drawn if steers(character)]


def test_control_characters_are_shown_as_escapes() -> None:
    assert shown(lambda: say_error("cannot open \x1b[2Ja\rb\u202e.mp4")) == (
        "error: cannot open \\x1b[2Ja\\rb\\u202e.mp4\n"
    )


def test_a_path_with_markup_and_control_characters_reaches_the_terminal_as_text(mmcache: Callable) -> None:
    done = mmcache("store", "info", "a\x1b[31m[/]:smile:.zarr")
    assert done.code == 2
    assert "no store at a\\x1b[31m[/]:smile:.zarr" in done.err
    assert "\x1b" not in done.err
