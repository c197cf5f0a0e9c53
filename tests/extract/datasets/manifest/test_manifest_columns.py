"""Which column of a table has which role, and that no column is passed over in silence."""

import itertools
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmcache.extract.datasets.manifest.manifest import Manifest
from mmcache.store.ground.errors import ConfigError

IN_FOLDER = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
ROWS = {"rgb": ("a.mp4", "b.mp4"), "label": ("cut", "wash")}


def manifest(folder: Path, columns: dict[str, tuple[str, ...]], labels: str = "expected") -> Manifest:
    """A table of these columns, beside two files and a folder of images."""
    for name in ("a.mp4", "b.mp4", "s.wav"):
        (folder / name).touch()
    (folder / "frames_a").mkdir(exist_ok=True)
    pd.DataFrame(columns).to_csv(folder / "manifest.csv", index=False)
    return Manifest(folder, labels=labels)


def refusal(folder: Path, columns: dict[str, tuple[str, ...]]) -> str:
    with pytest.raises(ConfigError) as caught:
        manifest(folder, columns)
    return str(caught.value)


TIMES = {
    1.0: ("start_s stop_s", "start_time end_time", "Start End", "begin finish", "onset offset", "StartSec EndSec"),
    1e-3: ("start_ms end_ms", "clip start milliseconds,clip end milliseconds", "t_start_ms t_end_ms"),
}


@pytest.mark.parametrize(("unit_s", "names"), [(unit, names) for unit, all_ in TIMES.items() for names in all_])
def test_times_are_found_under_names_that_leave_no_doubt(unit_s: float, names: str, tmp_path: Path) -> None:
    start, stop = names.split("," if "," in names else " ")
    cells = {start: (f"{0.5 / unit_s:g}", ""), stop: (f"{1.5 / unit_s:g}", "00:00:02.5")}
    dataset = manifest(tmp_path, {**ROWS, **cells})
    assert dataset.segments["start_s"].tolist() == [0.5, 0.0]
    assert dataset.segments["stop_s"].tolist() == [1.5, 2.5]
    unit = "" if unit_s == 1 else " in milliseconds"
    for name, role in ((start, "start"), (stop, "stop")):
        assert (f"column '{name}' is read as {role}{unit}" in dataset.notes) == (name.lower() != role)
    assert not any("carried along" in note for note in dataset.notes)


def test_a_duration_goes_from_the_start(tmp_path: Path) -> None:
    dataset = manifest(tmp_path, {**ROWS, "start": ("0.5", "1"), "duration": ("1", "")})
    assert dataset.segments["stop_s"].tolist() == [1.5, np.inf]
    dataset = manifest(tmp_path, {**ROWS, "start": ("0.5", "1"), "stop": ("1", "2"), "duration": ("9", "9")})
    assert dataset.segments["stop_s"].tolist() == [1.0, 2.0]
    assert "carried along: duration" in dataset.notes


@pytest.mark.parametrize(
    ("columns", "advice"),
    [
        ({"start_frame": ("0", "25"), "end_frame": ("25", "50")}, "start_frame and end_frame seem to say"),
        ({"start": ("0", "1"), "stopframe": ("25", "50")}, "a frame's number divided by frames a second"),
        ({"startus": ("0", "1"), "end_us": ("25", "50")}, "end_us seems to say when segments start or stop"),
        ({"offset": ("0", "1"), "duration": ("2", "2")}, "offset seems to say"),
        ({"segment": ("[0.0, 1.5]", "[1, 2]")}, "segment seems to say"),
        ({"rgb": ("a.mp4", "a.mp4"), "time": ("0", "1.5")}, "time seems to say"),
    ],
)
def test_times_in_a_form_that_is_not_understood_are_refused(
    columns: dict[str, tuple[str, ...]], advice: str, tmp_path: Path
) -> None:
    message = refusal(tmp_path, {**ROWS, **columns})
    assert advice in message
    assert "give seconds in columns named start and stop" in message


@pytest.mark.parametrize(
    "columns",
    [
        {"timestamp": ("2024-05-01 10:00", "2024-05-02 11:00")},
        {"time": ("1714550000", "1714550001")},
        {"end_effector": ("gripper", "hand")},
        {"start": ("0", "1"), "stop": ("1", "2"), "start_frame": ("0", "25"), "end_frame": ("25", "50")},
        {"frame": ("7", "8"), "fold": ("1", "2"), "weekend": ("0", "1")},
    ],
)
def test_what_only_looks_like_a_time_is_carried_along(columns: dict[str, tuple[str, ...]], tmp_path: Path) -> None:
    dataset = manifest(tmp_path, {**ROWS, **columns})
    others = [name for name in columns if name not in ("start", "stop")]
    assert f"carried along: {', '.join(others)}" in dataset.notes
    assert dataset.segments[others].to_dict("list") == {name: list(columns[name]) for name in others}


def test_a_cell_that_is_no_time_is_named_and_its_row_left_out(tmp_path: Path) -> None:
    cells = ["0,5", "1.5s", "NaN", "inf", "1:30", "-1", "1e999", "٣", "1_0", "0x1", "2"]
    count = len(cells)
    columns = {"rgb": ("a.mp4",) * count, "label": ("cut",) * count, "start": tuple(cells), "stop": ("9",) * count}
    dataset = manifest(tmp_path, columns)
    assert dataset.segments["start_s"].tolist() == [2.0]
    assert dataset.lost_rows == count - 1
    for number, (cell, problem) in enumerate(zip(cells, dataset.problems, strict=False)):
        assert problem.startswith(f"manifest.csv line {number + 2} (line{number + 2}): ")
        reason = "starts before 0 s" if cell == "-1" else f"start '{cell}' is no number of seconds such as 12.5, nor HH"
        assert reason in problem


@pytest.mark.parametrize("name", ["subset", "Partition", "set", "data_split", "phase", "split "])
def test_a_split_is_found_under_other_names_where_its_cells_say_so(name: str, tmp_path: Path) -> None:
    dataset = manifest(tmp_path, {**ROWS, name: (" Training", "VAL")})
    assert dataset.segments["split"].tolist() == ["train", "validation"]
    assert dataset.eval_split == "validation"
    dataset = manifest(tmp_path, {**ROWS, "set": ("kitchen", "garage")})
    assert dataset.segments["split"].tolist() == ["train", "train"]
    assert {"carried along: set", "no column is read as split: all segments are 'train'"} <= set(dataset.notes)


@pytest.mark.parametrize(
    ("cells", "splits", "reported"),
    [
        (("train", "dev"), ["train", "validation"], "validation"),
        (("Train", " Test "), ["train", "test"], "test"),
        (("", "eval"), ["train", "validation"], "validation"),
        (("train", "holdout"), ["train", "holdout"], "holdout"),
        (("train", "training"), None, "the splits 'train' and 'training' would all become 'train'"),
        (("train", "train"), ["train", "train"], ""),
        (("dev", "val"), None, "the splits 'dev' and 'val' would all become 'validation'"),
        (("train", "nan"), None, "column 'split' has 'nan' in manifest.csv line 3 (1 such): leave the cell empty"),
    ],
)
def test_results_are_never_reported_on_train(
    cells: tuple[str, str], splits: list[str] | None, reported: str, tmp_path: Path
) -> None:
    if splits is None:
        assert reported in refusal(tmp_path, {**ROWS, "split": cells})
        return
    dataset = manifest(tmp_path, {**ROWS, "split": cells})
    assert (dataset.segments["split"].tolist(), dataset.eval_split) == (splits, reported)
    assert any("fuse needs --eval-split" in note for note in dataset.notes) == (reported == "")


def test_a_split_under_a_name_that_is_not_known_is_refused(tmp_path: Path) -> None:
    """All of it would be trained on."""
    message = refusal(tmp_path, {**ROWS, "spilt": ("train", "test")})
    assert "the column 'spilt' holds test, train, but none is named split: rename it to split" in message


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("activity", "activity"),
        ("Category", "category"),
        ("labels", "label"),
        ("class_name", "class"),
        ("className", "class"),
        ("label_id", "label"),
        ("action_label", "action"),
    ],
)
def test_labels_are_found_under_other_names(name: str, task: str, tmp_path: Path) -> None:
    dataset = manifest(tmp_path, {"rgb": ROWS["rgb"], name: ("cut", "wash")})
    assert dataset.tasks == {task: ["cut", "wash"]}
    assert f"labels: {task} (2 classes)" in dataset.notes
    beside = manifest(tmp_path, {**ROWS, name: ("7", "8")})
    assert beside.tasks == {"label": ["cut", "wash"]}, "a documented name goes first, and one task is one head"


def test_verbs_and_nouns_by_number_are_two_tasks(tmp_path: Path) -> None:
    dataset = manifest(tmp_path, {"rgb": ROWS["rgb"], "verb_class": ("0", "1"), "noun_class": ("1", "0")})
    assert dataset.tasks == {"verb": ["0", "1"], "noun": ["0", "1"]}


def test_a_table_without_labels_is_refused_unless_it_is_meant(tmp_path: Path) -> None:
    for columns in ({"lable": ("cut", "wash")}, {"label": ("", "")}):
        message = refusal(tmp_path, {"rgb": ROWS["rgb"], **columns})
        assert "has no labels: name their column label" in message
        assert "--unlabelled says that there are none on purpose" in message
        assert ("lable (did you mean label?)" in message) == ("lable" in columns)
        assert manifest(tmp_path, {"rgb": ROWS["rgb"], **columns}, labels="none").tasks == {}


@pytest.mark.parametrize("word", ["NaN", "null", "None", "NA"])
def test_words_for_no_value_are_no_class_and_no_path(word: str, tmp_path: Path) -> None:
    label = refusal(tmp_path, {"rgb": ROWS["rgb"], "label": ("cut", word)})
    assert f"column 'label' has '{word}' in manifest.csv line 3: leave the cell empty" in label
    path = refusal(tmp_path, {"rgb": ("a.mp4", word), "label": ROWS["label"]})
    assert f"column 'rgb' has '{word}' in manifest.csv line 3 (1 such): leave the cell empty" in path


@pytest.mark.parametrize(
    ("name", "cells", "modality"),
    [
        ("video", ("a.mp4", "b.mp4"), "rgb"),
        ("video", ("gone/a.mp4", "gone/b.mkv"), "rgb"),
        ("video_path", ("what", "ever"), "rgb"),
        ("Video File", ("a.mp4", ""), "rgb"),
        ("frames", ("frames_a", ""), "rgb"),
        ("path", ("a.mp4", "b.mp4"), "rgb"),
        ("filename", ("s.wav", "gone.flac"), "audio"),
        ("wav", ("s.wav", ""), "audio"),
        ("audio_filepath", ("s.wav", ""), "audio"),
        ("imu_csv", ("i.csv", ""), "imu"),
        ("file", ("i.csv", "j.csv"), "imu"),
    ],
)
def test_media_are_found_under_other_names(name: str, cells: tuple[str, str], modality: str, tmp_path: Path) -> None:
    dataset = manifest(tmp_path, {name: cells, "label": ROWS["label"]})
    source = dataset.source(modality, dataset.segments["video"][0])
    assert source is not None
    assert source.paths == (tmp_path / cells[0],)
    assert f"column '{name}' is read as {modality}" in dataset.notes


def test_video_is_what_videos_are_called_where_rgb_has_the_paths(tmp_path: Path) -> None:
    dataset = manifest(tmp_path, {**ROWS, "video": ("kitchen", "garage")})
    assert dataset.segments["video"].tolist() == ["kitchen", "garage"]
    assert not any("video" in note for note in dataset.notes)


def test_media_that_are_not_read_are_said(tmp_path: Path) -> None:
    dataset = manifest(tmp_path, {**ROWS, "thermal": ("a.mp4", "b.mp4"), "depht": ("", "")})
    note = next(note for note in dataset.notes if note.startswith("carried along"))
    assert "thermal (its files are not read: media are in columns named rgb, flow, audio, imu, depth, ir)" in note
    mixed = refusal(tmp_path, {"path": ("a.mp4", "s.wav"), "label": ROWS["label"]})
    assert "column 'path' names files of audio and rgb; give each modality a path column of its own" in mixed


def test_a_rate_is_found_where_it_is_plain_whose_it_is(tmp_path: Path) -> None:
    columns = {"rgb": ("frames_a", "frames_a"), "label": ROWS["label"], "FPS": ("25", "30")}
    rates = [manifest(tmp_path, columns).source("rgb", video) for video in ("frames_a", "frames_a#2")]
    assert [source and source.rate for source in rates] == [25.0, 30.0]
    two = manifest(tmp_path, {**columns, "ir": ("frames_a", "frames_a")})
    assert any("carried along: FPS" in note for note in two.notes)


ROLES = {
    "start": ("start", "begin", "start_s", "Start Time"),
    "stop": ("stop", "end", "end_s", "stop_time"),
    "split": ("split", "subset", "partition"),
    "path of rgb": ("rgb", "video_path", "rgb_file"),
    "label": ("activity", "category", "class_id"),
}
CELLS = {
    "start": ("0", "1"),
    "stop": ("2", "3"),
    "split": ("train", "test"),
    "path of rgb": ("a.mp4", "b.mp4"),
    "label": ("cut", "wash"),
}


@pytest.mark.parametrize(
    ("role", "pair"), [(role, pair) for role, names in ROLES.items() for pair in itertools.combinations(names, 2)]
)
def test_two_columns_of_one_role_are_an_error_that_names_both(role: str, pair: tuple[str, str], tmp_path: Path) -> None:
    columns = {r: CELLS[r] for r in ("start", "stop", "split") if r != role}
    columns |= {} if role == "path of rgb" else {"rgb": ROWS["rgb"]}
    columns |= {} if role == "label" else {"label": ROWS["label"]}
    message = refusal(tmp_path, {**columns, **dict.fromkeys(pair, CELLS[role])})
    assert f"the columns {' and '.join(pair)} could both be the {role}; keep one of them" in message


NAMES = st.text(st.sampled_from("abdeglnoprstuvABE _-9ä"), min_size=1, max_size=9).map(str.strip).filter(bool)
WORDS = st.sampled_from(["train", "test", "cut", "0.5", "7", "a.mp4", "", "x y", "[1, 2]", "00:00:01"])


@IN_FOLDER
@given(st.dictionaries(NAMES, st.tuples(WORDS, WORDS), max_size=4))
def test_every_column_is_used_or_said(tmp_path: Path, others: dict[str, tuple[str, str]]) -> None:
    """Whatever the names and cells: refused with the name of a column, or its cells are kept, or a note names it."""
    try:
        dataset = manifest(tmp_path, {**ROWS, **others})
    except ConfigError as error:
        reason = str(error)
    else:
        notes = "\n".join(dataset.notes)
        for name in others:
            assert name in notes or re.sub(r"\W", "", name.lower()) in ("id", "video", "split", "start", "stop", "verb")
        return
    assert any(name in reason for name in others)


@pytest.mark.parametrize("names", ["from to", "von bis", "t0 t1", "first last", "time_1 time_2", "lower upper"])
def test_numbers_that_divide_shared_media_are_times_whatever_they_are_called(names: str, tmp_path: Path) -> None:
    first, second = names.split()
    columns = {"rgb": ("a.mp4", "a.mp4"), "label": ("cut", "wash"), first: ("0.1", "0.5"), second: ("0.5", "0.9")}
    message = refusal(tmp_path, columns)
    assert f"{first} and {second} seem to say when segments start or stop" in message
    if first not in ("from", "t0"):
        whole = manifest(tmp_path, {**columns, "start": ("", "")})
        assert whole.segments["stop_s"].tolist() == [np.inf, np.inf]
        manifest(tmp_path, {**columns, "rgb": ("a.mp4", "b.mp4")})


def test_a_length_beside_a_start_is_refused(tmp_path: Path) -> None:
    assert "len_s seems to say when" in refusal(tmp_path, {**ROWS, "start": ("0", "1"), "len_s": ("1", "2")})


@pytest.mark.parametrize(
    ("name", "cells"),
    [("is_train", ("True", "False")), ("test", ("0", "1")), ("split_1", ("1", "2")), ("Subset", ("A", "B"))],
)
def test_columns_that_say_who_is_trained_on_in_other_words_are_refused(
    name: str, cells: tuple[str, str], tmp_path: Path
) -> None:
    message = refusal(tmp_path, {**ROWS, name: cells})
    assert (
        f"{name} seems to say which segments are trained on, but cannot be read ({', '.join(sorted(cells))})" in message
    )
    assert manifest(tmp_path, {**ROWS, name: cells, "split": ("train", "test")}).eval_split == "test"


def test_the_same_media_in_two_splits_are_told(tmp_path: Path) -> None:
    notes = manifest(tmp_path, {**ROWS, "rgb": ("a.mp4", "a.mp4"), "split": ("train", "test")}).notes
    assert any("2 of them are in more than one split" in note for note in notes)
    notes = manifest(tmp_path, {**ROWS, "split": ("0", "1")}).notes
    assert "no segment is in the split 'train', from which `mmcache fuse` learns" in notes
