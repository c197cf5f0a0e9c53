"""Where annotations of EPIC-KITCHENS-100 are looked for, and files that are not what they should be."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmcache.extract.datasets.epic.epic_kitchens import EpicKitchens
from mmcache.store.ground.errors import ConfigError

TRAIN_FILE = "EPIC_100_train.csv"
WriteEpic = Callable[..., Path]
TRAIN = [
    "P01_11_0,P01,P01_11,00:00:00.560,00:00:00.00,00:00:01.89,1,113,take plate,take,0,plate,2,['plate'],[2]",
    "P01_11_1,P01,P01_11,,00:00:02.10,00:00:03.00,126,180,switch-on board,switch-on,3,board,3,['board'],[3]",
]
VALIDATION = ["P02_01_0,P02,P02_01,,00:00:01.00,00:00:02.00,60,120,take plate,take,0,plate,2,['plate'],[2]"]


@pytest.mark.parametrize("folder", [".", "annotations", "epic-kitchens-100-annotations"])
def test_annotations_are_found_in_the_usual_folders(folder: str, tmp_path: Path, write_epic: WriteEpic) -> None:
    write_epic(tmp_path / folder, TRAIN)
    assert len(EpicKitchens(tmp_path).segments) == 2


def test_a_given_folder_of_annotations_goes_before_the_usual_ones(tmp_path: Path, write_epic: WriteEpic) -> None:
    root = write_epic(tmp_path / "root", TRAIN)
    other = write_epic(tmp_path / "other", TRAIN[:1])
    assert len(EpicKitchens(root, other).segments) == 1
    with pytest.raises(ConfigError, match=r"no folder .*nowhere \(given as --annotations\)"):
        EpicKitchens(root, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        ConfigError, match=r"no EPIC-KITCHENS-100 annotations in .*empty\. They come from https://github\.com/"
    ):
        EpicKitchens(root, tmp_path / "empty")


def test_no_root_or_no_annotations_says_what_to_download_and_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no folder .*nowhere\. Put EPIC-KITCHENS-100 there.*--root.*github\.com"):
        EpicKitchens(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="no EPIC-KITCHENS-100 annotations") as caught:
        EpicKitchens(tmp_path)
    for part in ("annotations,", "epic-kitchens-100-annotations", "github.com/epic-kitchens", "--annotations DIR"):
        assert part in str(caught.value)


def test_all_missing_files_are_named_at_once(tmp_path: Path, write_epic: WriteEpic) -> None:
    root = write_epic(tmp_path, TRAIN)
    (root / "EPIC_100_noun_classes.csv").unlink()
    (root / TRAIN_FILE).unlink()
    with pytest.raises(ConfigError, match="2 things to put right") as caught:
        EpicKitchens(root)
    for name in ("EPIC_100_noun_classes.csv is missing", "EPIC_100_train.csv is missing", "github.com/epic-kitchens"):
        assert name in str(caught.value)


def test_all_missing_columns_are_named_at_once(tmp_path: Path, write_epic: WriteEpic) -> None:
    root = write_epic(tmp_path, TRAIN, VALIDATION)
    for file, lost in (
        ("EPIC_100_noun_classes.csv", ["key"]),
        (TRAIN_FILE, ["verb_class", "stop_timestamp"]),
        ("EPIC_100_validation.csv", ["noun_class"]),
    ):
        pd.read_csv(root / file, dtype=str).drop(columns=lost).to_csv(root / file, index=False)
    with pytest.raises(ConfigError, match="lacks the column") as caught:
        EpicKitchens(root)
    message = str(caught.value)
    for part in ("EPIC_100_noun_classes.csv", "EPIC_100_train.csv", "EPIC_100_validation.csv"):
        assert part in message
    for column in ("key", "verb_class", "stop_timestamp", "noun_class"):
        assert column in message


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty; its first line must name the columns"),
        (np.random.default_rng(0).bytes(5000), "line 1 is not UTF-8"),
        (b'narration_id,participant_id,video_id\nP01_11_0,P01,"P01_11,00:\n', "line 2 is no CSV: a quote is opened"),
    ],
    ids=["empty", "random bytes", "open quote"],
)
def test_a_file_that_is_no_csv_is_named(content: bytes, reason: str, tmp_path: Path, write_epic: WriteEpic) -> None:
    root = write_epic(tmp_path, TRAIN)
    (root / TRAIN_FILE).write_bytes(content)
    with pytest.raises(ConfigError, match=rf"EPIC_100_train\.csv {reason}"):
        EpicKitchens(root)


@pytest.mark.parametrize("ids", [[0, 2, 1], [1, 2, 3], [0, 1, 3], [0, 1, 1]])
def test_class_ids_that_do_not_count_from_zero_are_refused(
    ids: list[int], tmp_path: Path, write_epic: WriteEpic
) -> None:
    root = write_epic(tmp_path, TRAIN)
    rows = [f"{i},key{i},['x'],c" for i in ids]
    (root / "EPIC_100_verb_classes.csv").write_text("\r\n".join(["id,key,instances,category", *rows]))
    with pytest.raises(ConfigError, match=r"EPIC_100_verb_classes\.csv: ids must be 0, 1, 2, \.\.\. without gaps"):
        EpicKitchens(root)
