import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmcache.store.ground.errors import Problems
from mmcache.store.segments.labels import escaped, read_labels, unescaped

PROPERTY = settings(max_examples=100)
NOWHERE = Path("/nowhere/verb.txt")


def read(values: list[object], classes: Path = NOWHERE) -> tuple[list[str], list[int], list[str]]:
    problems = Problems()
    names, labels = read_labels(pd.Series(values, name="verb", dtype=object), classes, problems)
    return names, labels.tolist(), problems.messages


def test_names_become_their_place_in_the_sorted_list() -> None:
    assert read(["wash", "cut", "", " wash ", None]) == (["cut", "wash"], [1, 0, -1, 1, -1], [])


def test_numbers_stand_for_themselves_and_need_not_all_occur() -> None:
    assert read(["3", "0", "", "-1", "1.0"]) == (["0", "1", "2", "3"], [3, 0, -1, -1, 1], [])
    assert read([2, np.nan, 0]) == (["0", "1", "2"], [2, -1, 0], [])


def test_an_empty_column_has_no_classes() -> None:
    assert read(["", ""]) == ([], [-1, -1], [])


def test_the_classes_file_says_which_there_are_and_in_which_order(tmp_path: Path) -> None:
    file = tmp_path / "verb.txt"
    file.write_text("wash\ncut\nnever seen\n")
    assert read(["cut", "wash", ""], file) == (["wash", "cut", "never seen"], [1, 0, -1], [])
    assert read(["1", "0"], file)[:2] == (["wash", "cut", "never seen"], [1, 0])
    assert read(["stir", "mix", "cut"], file)[2] == [
        f"column 'verb' has 'stir' in row 0 (2 such), which {file} does not list",
    ]


def test_a_huge_label_is_refused_before_a_class_is_made_for_every_number() -> None:
    names, _, problems = read(["0", str(10**12)])
    assert names == []
    assert problems == ["column 'verb' has labels up to 1000000000000 for 2 segments"]


@pytest.mark.parametrize("text", ["1.5", "1e400", "inf", "none", "0x10", "1_000", "１"])
def test_what_is_no_whole_number_is_a_name(text: str) -> None:
    names, labels, problems = read([text, "other"])
    assert names == sorted([text, "other"])
    assert [names[label] for label in labels] == [text, "other"]
    assert problems == []


@pytest.mark.parametrize("word", ["NaN", "nan", "null", "None", "NA", "N/A", "<NA>"])
@pytest.mark.parametrize("others", [["cut", "wash"], ["0", "1"]])
def test_what_programs_write_for_no_value_is_no_class_unless_the_file_lists_it(
    word: str, others: list[str], tmp_path: Path
) -> None:
    (problem,) = read([*others, word, "", f" {word} "])[2]
    assert problem.startswith(f"column 'verb' has '{word}' in row 2 (2 such): leave the cell empty")
    file = tmp_path / "verb.txt"
    file.write_text(f"{word}\ncut\n")
    assert read(["cut", word, ""], file) == ([word, "cut"], [1, 0, -1], [])


def test_labels_that_the_classes_have_no_place_for_are_named(tmp_path: Path) -> None:
    file = tmp_path / "verb.txt"
    file.write_text("\ufeffwash\r\ncut\r\n", encoding="utf-8")
    assert read(["1", "2", "7"], file)[2] == [
        f"column 'verb' has the label 2 in row 1 (2 such), but {file} lists 2 classes, 0 to 1"
    ]
    assert read(["0", "-2"])[2][0].startswith("column 'verb' has the label '-2' in row 1: labels are 0 or more")
    assert read(["wash", "cuts"], file)[2] == [
        f"column 'verb' has 'cuts' in row 1, which {file} does not list; did you mean 'cut'?"
    ]
    file.write_text("wash\ncut\nwash\n")
    assert read(["cut", "1"], file)[2] != []
    assert read(["wash"], file)[2] == [f"{file} lists 'wash' twice, and column 'verb' has that name"]
    assert read(["0", "2"], file)[1:] == ([0, 2], [])


def test_a_classes_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    fifo, binary = tmp_path / "verb.txt", tmp_path / "noun.txt"
    os.mkfifo(fifo)
    binary.write_bytes(b"\xff\xfe")
    assert "it is a FIFO, not a regular file" in read(["cut"], fifo)[2][0]
    assert "is not UTF-8 (byte 0x" in read(["cut"], binary)[2][0]


@PROPERTY
@given(st.text(st.characters(codec="utf-8")))
def test_any_name_is_one_line_and_comes_back(name: str) -> None:
    assert "\n" not in escaped(name)
    assert unescaped(escaped(name)) == name


@pytest.mark.parametrize("line", ["a\\", 'say "hi"', "C:\\new\\x", "plain"])
def test_lines_that_are_none_of_ours_are_the_names_themselves(line: str) -> None:
    assert unescaped(line) == line


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["Walk", "run", "walk"], "has 'Walk' and, in row 2, 'walk', which would be two classes"),
        (["open door", "open  door", "Open\u00a0door"], "has 'open door' and, in row 1, 'open  door' (2 such)"),
        (["caf\u00e9", "cafe\u0301"], "which would be two classes: write them alike, or list the classes in"),
        (["x", "01", "1.0"], "has '01' and, in row 2, '1.0', which would be two classes"),
        (["0.25", "-1.5", "1"], "has the number 0.25 in row 0 (2 such): labels are classes"),
        (["[1, 2]", "[2]"], "has '[1, 2]' in row 0 (2 such): a segment has one label of a task"),
        (["['a' 'b']", "a"], "a segment has one label of a task; give each its own column"),
        (["[0 1 0]", "[]"], "a segment has one label of a task"),
        (["{'verb': 1}"], "a segment has one label of a task"),
        (["<undefined>", "cut"], "leave the cell empty where there is no label"),
        (["#N/A", "#REF!", "cut"], "has '#N/A' in row 0 (2 such): leave the cell empty"),
    ],
)
def test_cells_that_are_no_class_of_their_own_are_named_unless_the_file_lists_them(
    cells: list[str], message: str, tmp_path: Path
) -> None:
    file = tmp_path / "verb.txt"
    (problem,) = read(cells, file)[2]
    assert message in problem
    assert str(file) in problem
    file.write_text("".join(f"{cell}\n" for cell in cells))
    assert read(cells, file) == (cells, list(range(len(cells))), [])


@pytest.mark.parametrize("cells", [["[noise]", "walk"], ["A", "B", "1", "10"], ["{x}", "walk"], ["True", "False"]])
def test_classes_that_only_look_odd_are_taken(cells: list[str]) -> None:
    assert read(cells)[0] == sorted(cells)
    assert read(cells)[2] == []


def test_no_label_is_minus_one_among_names_too() -> None:
    assert read(["-1", "run", "-1.0", "walk"]) == (["run", "walk"], [-1, 0, -1, 1], [])


def test_numbers_that_the_file_lists_are_names_but_for_an_export(tmp_path: Path) -> None:
    file = tmp_path / "verb.txt"
    file.write_text("1\n2\n3\n")
    assert read(["1", "3", "2"], file) == (["1", "2", "3"], [0, 2, 1], [])
    assert read(["1", "2"], file)[1] == [0, 1]
    assert read(["0", "2"], file)[1] == [0, 2]
    exported = read_labels(pd.Series(["1", "2"]), file, Problems(), names_may_be_numbers=False)
    assert exported[1].tolist() == [1, 2]
