import itertools

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcache.store.ground.errors import Problems
from mmcache.store.segments.splits import canonical_splits, choose_eval_split, matching_splits, usual_eval_split


def stored(*cells):
    problems = Problems()
    return canonical_splits(pd.Series(cells, dtype=object), "t.csv", problems).tolist(), problems.messages


@pytest.mark.parametrize("name", ["valid", "eval", "dev", "val", "Validation", " VAL ", "development"])
def test_usual_names_of_validation_are_one_split(name):
    assert stored("train", name) == (["train", "validation"], [])
    assert usual_eval_split(["train", name]) == name


@pytest.mark.parametrize(("train", "test"), [("Train", "Test"), ("training", "testing"), (" train", "TEST ")])
def test_train_and_test_are_found_in_any_spelling(train, test):
    assert stored(train, test) == (["train", "test"], [])


def test_an_empty_cell_is_train():
    assert stored("", "test", " ") == (["train", "test", "train"], [])


def test_spellings_that_differ_in_case_are_one_split():
    assert stored("Novel", "novel ", "train") == (["novel", "novel", "train"], [])


def test_two_names_of_one_split_in_a_table_are_named():
    _, problems = stored("train", "dev", "val")
    assert problems == [
        "t.csv: the splits 'dev' and 'val' would all become 'validation'; rename those that are another one"
    ]


@given(st.lists(st.sampled_from(["train", "training", "test", "val", "dev", "fold1", "base", "novel"]), unique=True))
def test_results_are_never_reported_on_train_and_do_not_depend_on_the_order(names):
    chosen = {usual_eval_split(order) for order in itertools.islice(itertools.permutations(names), 24)}
    assert not chosen & {"train", "training"}
    kinds = {name for name in names if name not in ("train", "training")}
    if "test" in kinds:
        assert chosen == {"test"}
    elif kinds & {"val", "dev"}:
        assert chosen <= {"val", "dev"}
    else:
        assert chosen == (kinds if len(kinds) == 1 else {""})


def test_a_split_is_found_by_any_usual_name():
    problems = Problems()
    assert matching_splits(["val", "Test"], ["train", "validation", "test"], problems) == ["validation", "test"]
    assert not problems.messages
    assert matching_splits(["fold_1"], ["train", "fold1"], problems) == []
    assert problems.messages == ["unknown split 'fold_1'. Did you mean 'fold1'? Known: fold1, train."]


@pytest.mark.parametrize(
    ("stated", "names", "expected"),
    [
        ("val", ["train", "validation", "test"], "validation"),
        ("validation", ["train", "val", "test"], "val"),
        ("train", ["train", "dev"], "dev"),
        ("Training", ["training", "a", "b"], ""),
        ("gone", ["train", "test"], "test"),
        ("", ["train"], ""),
        (7, ["train", "test"], "test"),
    ],
)
def test_a_stated_split_counts_where_it_is_there_and_not_train(stated, names, expected):
    assert choose_eval_split(stated, names) == expected


@pytest.mark.parametrize("form", ["{}", "{}set", "{} set", "{}_set", "{}-split", "{} Data", "\u200b{}", "\ufeff{} "])
def test_what_stands_around_a_usual_name_is_no_other_split(form):
    given = [form.format(name) for name in ("Train", "val", "Test")]
    assert stored(*given) == (["train", "validation", "test"], [])
    assert stored("train", form.format("extra"))[0] == ["train", form.format("extra").casefold().strip("\u200b\ufeff ")]
