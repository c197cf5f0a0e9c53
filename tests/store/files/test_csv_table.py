import os

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcache.store.files.csv_table import read_csv_table
from mmcache.store.ground.errors import ConfigError

_CELLS = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=8)


@pytest.fixture
def table(tmp_path):
    def write(text, encoding="utf-8"):
        path = tmp_path / "table.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return write


@given(cells=st.lists(st.lists(_CELLS, min_size=3, max_size=3), min_size=1, max_size=6))
def test_what_pandas_writes_comes_back_cell_by_cell(cells, tmp_path_factory):
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    written = pd.DataFrame(cells, columns=["a", "b", "c"])
    written.to_csv(path, index=False)
    filled = [row for row in cells if any(row)]
    assert read_csv_table(path).to_numpy().tolist() == filled


@given(
    widths=st.lists(st.integers(1, 6), min_size=1, max_size=8),
    columns=st.integers(2, 5),
)
def test_a_table_is_read_only_where_every_row_has_the_cells_of_the_header(widths, columns, tmp_path_factory):
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    rows = [",".join(f"r{row}c{cell}" for cell in range(width)) for row, width in enumerate(widths)]
    path.write_text("\n".join([",".join(f"n{i}" for i in range(columns)), *rows]))
    wrong = [number for number, width in enumerate(widths) if width != columns]
    if not wrong:
        assert read_csv_table(path).shape == (len(widths), columns)
        return
    expected = rf"line {wrong[0] + 2} has {widths[wrong[0]]} cells?, the header has {columns}"
    with pytest.raises(ConfigError, match=expected):
        read_csv_table(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,label\n1,cut, then wash\n2,cook\n", r"line 2 has 3 cells, the header has 2: put cells that have a comma"),
        (
            "id,label\nr1,1,cut\nr2,2,cook\n",
            r"line 2 has 3 cells, the header has 2 \(2 such lines\): every row has",
        ),
        ("id,label\nr1,1,cut\nr2,2,cook\n", r"line 2 has 3 cells.*row\.names = FALSE.*\(row,id,label\)"),
        ("id,note\nr1,1,\nr2,2,x\n", r"line 2 has 3 cells.*row\.names = FALSE"),
        ("id,label\n1,cut\n2,cook,\n", r"line 3 has 3 cells, .*: it ends in a comma"),
        ("id,label\n1,cut\n2\n", r"line 3 has 1 cell, .*: a cell or the end of the line is missing"),
        ("Label,label\n1,2\n", r"the columns 'Label' and 'label'; keep one, or rename one"),
        ("a,a\n1,2\n", r"two columns named 'a'"),
        ("a,,b\n1,2,3\n", r"column 2 of 3 has no name"),
        (",b\nx,2\n", r"column 1 of 2 has no name"),
        ('a,b\n1,2\n"3,4\n5,6\n', r"line 3 is no CSV: a quote is opened there and never closed"),
        ("a,b\n1,\x002\n", r"line 2 has a NUL character"),
        ("", r"is empty; its first line must name the columns"),
        ("\n\n", r"is empty"),
    ],
)
def test_a_table_that_can_be_read_in_two_ways_is_refused_with_its_line(table, text, message):
    with pytest.raises(ConfigError, match=message):
        read_csv_table(table(text))


@pytest.mark.parametrize(
    "text",
    ["a,b\n1,2\n", "a;b\n1;2\n", "a\tb\n1\t2\n", "a,b,\n1,2,\n", " a , b \n1,2\n", "a,b\r\n1,2\r\n", ",a,b\n0,1,2\n"],
    ids=["plain", "semicolons", "tabs", "commas at the end", "spaces", "Windows", "row numbers of pandas"],
)
def test_forms_that_mean_the_same_are_read_alike(table, text):
    read = read_csv_table(table(text))
    assert read.columns.tolist() == ["a", "b"]
    assert read.to_numpy().tolist() == [["1", "2"]]
    assert read.index.tolist() == [2]


def test_a_byte_order_mark_is_no_part_of_the_first_name(table):
    assert read_csv_table(table("a,b\n1,2\n", "utf-8-sig")).columns.tolist() == ["a", "b"]


def test_other_encodings_are_named_with_the_line(table):
    with pytest.raises(ConfigError, match=r"line 2 is not UTF-8 \(byte 0xe9\); save it as CSV in UTF-8"):
        read_csv_table(table("a,b\n1,caf\xe9\n", "latin-1"))


def test_lines_are_counted_as_an_editor_counts_them(table):
    read = read_csv_table(table('a,b\n\n"1\n1",2\n3,4\n'))
    assert read.index.tolist() == [3, 5]


def test_a_fifo_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "t.csv")
    with pytest.raises(ConfigError, match="it is a FIFO, not a regular file"):
        read_csv_table(tmp_path / "t.csv")


_PLAIN = st.text("abc 123.", min_size=1, max_size=5).map(str.strip).filter(bool)


@given(
    cells=st.lists(st.lists(_PLAIN, min_size=3, max_size=3), min_size=1, max_size=4),
    delimiter=st.sampled_from(",;\t|"),
    said=st.booleans(),
    empty=st.integers(0, 3),
    mark=st.booleans(),
)
def test_any_delimiter_of_spreadsheets_is_found(cells, delimiter, said, empty, mark, tmp_path_factory):
    """Also beside names that have another one in them, below the line `sep=`, and with empty columns behind."""
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    others = [other for other in ",;\t|" if other != delimiter]
    header = ["a", f"b{others[0]} {others[1]}x", "c"]
    lines = [delimiter.join([*row, *[""] * empty]) for row in [header, *cells]]
    text = "\r\n".join([f"sep={delimiter}"] * said + lines) + "\r\n"
    path.write_bytes(text.encode("utf-8-sig" if mark else "utf-8"))
    table = read_csv_table(path)
    assert table.columns.tolist() == header
    assert table.to_numpy().tolist() == cells
    assert table.index[0] == 2 + said


def test_blanks_before_a_quote_are_not_part_of_a_cell(table):
    read = read_csv_table(table('id, label\n"a", "cut, fast"\n"b", cook\n'))
    assert read.to_numpy().tolist() == [["a", "cut, fast"], ["b", "cook"]]
