import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from mmcache.store.ground.text import excerpt, printable


@given(st.text())
def test_printable_text_has_no_control_character_but_tab_and_newline(text):
    shown = printable(text)
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") and c not in "\t\n"]
    assert not set(shown) & set("\u202e\u2066\u200f")


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"])))
def test_printable_leaves_usual_text_alone(text):
    assert printable(text) == text


def test_escapes_of_a_terminal_are_shown():
    assert printable("a\x1b[31mred\r\n") == "a\\x1b[31mred\\r\n"


@given(st.recursive(st.none() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_an_excerpt_is_one_short_line(value):
    shown = excerpt(value)
    assert len(shown) <= 80
    assert "\n" not in shown


def test_containers_are_described_where_they_are_large_or_nested():
    assert excerpt(["a", 1]) == "['a', 1]"
    assert excerpt([[1]]) == "a list of 1 entry"
    assert excerpt({"a": 1, "b": 2}) == "a mapping of 2 entries"
