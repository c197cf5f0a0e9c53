"""What protocols ask of EPIC-KITCHENS-100: EK*, unseen participants, rare classes, nouns that train lacks."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmcache.extract.datasets.epic.epic_kitchens import EpicKitchens
from mmcache.store.feature_store import FeatureStore
from mmcache.store.format.layout import StoreMeta
from mmcache.store.ground.errors import ConfigError
from mmcache.store.segments.segment_table import check_segments, segments_from_bytes, segments_to_bytes
from mmcache.store.write.create import create_store

WriteEpic = Callable[..., Path]
NOUNS = 6  # of the class file that the fixture writes


def row(narration: str, verb: int = 0, noun: int = 2) -> str:
    """A row of the official train and validation files."""
    video = narration.rpartition("_")[0]
    number = int(narration.rpartition("_")[2])
    time = f"00:{number // 60 % 60:02d}:{number % 60:02d}"
    return f"{narration},{video[:3]},{video},,{time}.00,{time}.90,1,50,take it,take,{verb},it,{noun},['it'],[{noun}]"


def span(narration: str) -> str:
    """A row of the official test file, which has no labels."""
    return ",".join(row(narration).split(",")[:8])


def write_lists(folder: Path, **lists: list[str]) -> None:
    """The official lists: one column, its name first; Windows line ends do no harm."""
    files = {
        "unseen_validation": ("EPIC_100_unseen_participant_ids_validation.csv", "participant_id"),
        "unseen_test": ("EPIC_100_unseen_participant_ids_test.csv", "participant_id"),
        "verbs": ("EPIC_100_tail_verbs.csv", "verb"),
        "nouns": ("EPIC_100_tail_nouns.csv", "noun"),
    }
    for name, values in lists.items():
        file, column = files[name]
        (folder / file).write_text("\r\n".join([column, *values]))


def held_out(narration: str) -> bool:
    digest = hashlib.blake2b(narration.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % 10 == 0


def test_ek90_cuts_train_in_two_and_prunes_validation(tmp_path: Path, write_epic: WriteEpic) -> None:
    train = [row(f"P01_{video}_{i}", noun=i % 3) for video in ("11", "101") for i in range(1500)]
    validation = [row(f"P02_03_{i}", noun=i % NOUNS) for i in range(60)]
    dataset = EpicKitchens(write_epic(tmp_path, train, validation, [span("P03_101_0")]))
    table = dataset.segments
    parts = table.groupby("split")["split_ek90"].agg(lambda of: sorted(set(of))).to_dict()
    assert parts == {"train": ["holdout", "train"], "validation": ["", "validation"], "test": [""]}
    for _, segment in table[table["split"] == "train"].iterrows():
        assert (segment["split_ek90"] == "holdout") is held_out(segment["id"])
    of_train = table["split_ek90"][table["split"] == "train"]
    assert (of_train == "holdout").mean() == pytest.approx(0.1, abs=0.02)
    assert set(table["noun"][table["split_ek90"] == "validation"]) == {0, 1, 2}
    assert set(table["noun"][(table["split"] == "validation") & (table["split_ek90"] == "")]) == {3, 4, 5}
    check_segments(table, dataset.tasks)
    pd.testing.assert_frame_equal(segments_from_bytes(segments_to_bytes(table)), table, check_dtype=False)


def test_a_store_opened_by_ek90_reports_on_what_is_left_of_validation(tmp_path: Path, write_epic: WriteEpic) -> None:
    rows = [row(f"P01_11_{i}", noun=1) for i in range(300)]
    dataset = EpicKitchens(write_epic(tmp_path, rows, [row("P02_03_0", noun=1), row("P02_03_1", noun=3)]))
    splits = dataset.segments["split"].value_counts().to_dict()
    meta = StoreMeta("epic", dataset.tasks, splits, dataset.eval_split)
    create_store(tmp_path / "s.zarr", dataset.segments, meta)
    store = FeatureStore.open(tmp_path / "s.zarr", protocol="ek90")
    assert store.meta.eval_split == "validation"
    assert store.meta.splits["validation"] == 1
    assert store.meta.splits["train"] + store.meta.splits["holdout"] == 300


def test_ek90_of_a_narration_depends_on_its_id_alone(tmp_path: Path, write_epic: WriteEpic) -> None:
    rows = [row(f"P01_11_{i}") for i in range(400)]
    whole = EpicKitchens(write_epic(tmp_path / "a", rows)).segments.set_index("id")["split_ek90"]
    some = EpicKitchens(write_epic(tmp_path / "b", rows[::-3])).segments.set_index("id")["split_ek90"]
    assert some.to_dict() == whole.loc[some.index].to_dict()
    # Written down, so that a store made with one version stands for the same split with the next.
    assert [i for i in range(60) if whole[f"P01_11_{i}"] == "holdout"] == [3, 11, 12, 31, 34, 39, 53, 54, 55]


def test_unseen_is_told_by_the_list_of_the_segments_own_split(tmp_path: Path, write_epic: WriteEpic) -> None:
    """A participant of the test list is not unseen in validation, and nobody is in train."""
    train = [row("P01_11_0"), row("P18_101_0")]
    validation = [row("P18_01_0"), row("P33_01_0"), row("P01_01_0")]
    root = write_epic(tmp_path, train, validation, [span("P33_101_0"), span("P18_102_0")])
    write_lists(root, unseen_validation=["P18", "P32"], unseen_test=["P33", "P34", "P36"])
    found = EpicKitchens(root).segments.set_index("id")["unseen"]
    assert found.dtype == bool
    assert found.index[found].tolist() == ["P18_01_0", "P33_101_0"]


def test_rare_classes_are_those_of_the_lists(tmp_path: Path, write_epic: WriteEpic) -> None:
    validation = [row("P02_03_0", 1, 0), row("P02_03_1", 4, 1), row("P02_03_2", 0, 5)]
    root = write_epic(tmp_path, [row("P01_11_0", 4, 5)], validation, [span("P03_101_0")])
    write_lists(root, verbs=["4", "2"], nouns=["5"])
    table = EpicKitchens(root).segments
    assert table["tail_verb"].tolist() == [True, False, True, False, False]
    assert table["tail_noun"].tolist() == [True, False, False, True, False]


def test_nouns_of_train_are_those_its_labels_have(tmp_path: Path, write_epic: WriteEpic) -> None:
    validation = [row("P02_03_0", noun=2), row("P02_03_1", noun=4), row("P02_03_2", noun=1)]
    root = write_epic(tmp_path, [row("P01_11_0", noun=2), row("P01_11_1", noun=1)], validation, [span("P03_101_0")])
    table = EpicKitchens(root).segments
    assert table["noun_in_train"].tolist() == [True, True, True, False, True, False]
    assert table["noun_in_train"].dtype == bool


@pytest.mark.parametrize("lost", ["unseen_validation", "unseen_test", "verbs", "nouns"])
def test_a_list_that_is_not_there_costs_its_column_alone(lost: str, tmp_path: Path, write_epic: WriteEpic) -> None:
    root = write_epic(tmp_path, [row("P01_11_0")], [row("P02_03_0")], [span("P03_101_0")])
    lists = {"unseen_validation": ["P18"], "unseen_test": ["P33"], "verbs": ["1"], "nouns": ["1"]}
    write_lists(root, **{name: values for name, values in lists.items() if name != lost})
    dataset = EpicKitchens(root)
    column = {"verbs": "tail_verb", "nouns": "tail_noun"}.get(lost, "unseen")
    assert {"unseen", "tail_verb", "tail_noun"} - set(dataset.segments.columns) == {column}
    assert {"split_ek90", "noun_in_train"} <= set(dataset.segments.columns)
    assert dataset.problems == []


def test_the_list_of_a_split_without_segments_is_not_needed(tmp_path: Path, write_epic: WriteEpic) -> None:
    root = write_epic(tmp_path, [row("P01_11_0")], [row("P18_03_0")])
    write_lists(root, unseen_validation=["P18"])
    np.testing.assert_array_equal(EpicKitchens(root).segments["unseen"], [False, True])


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("verbs", ["1", "5"], r"EPIC_100_tail_verbs\.csv: '5' is not one of 0\.\.4"),
        ("nouns", ["tap"], r"EPIC_100_tail_nouns\.csv: 'tap' is not one of 0\.\.5"),
    ],
)
def test_a_list_of_other_classes_is_refused(
    name: str, values: list[str], reason: str, tmp_path: Path, write_epic: WriteEpic
) -> None:
    root = write_epic(tmp_path, [row("P01_11_0")])
    write_lists(root, **{name: values})
    with pytest.raises(ConfigError, match=reason):
        EpicKitchens(root)


def test_lists_of_another_form_are_all_named(tmp_path: Path, write_epic: WriteEpic) -> None:
    root = write_epic(tmp_path, [row("P01_11_0")], [row("P02_03_0")])
    (root / "EPIC_100_unseen_participant_ids_validation.csv").write_text("participant\nP18\n")
    (root / "EPIC_100_tail_verbs.csv").write_bytes(b"")
    with pytest.raises(ConfigError, match="2 things to put right") as caught:
        EpicKitchens(root)
    assert "ids_validation.csv lacks the columns participant_id; it has participant" in str(caught.value)
    assert "tail_verbs.csv is empty; its first line must name the columns" in str(caught.value)
