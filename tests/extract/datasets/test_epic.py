"""The EPIC-KITCHENS-100 reader on trees written by hand, as the official files and downloads are described."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmcache.extract.datasets import DATASETS, Source
from mmcache.extract.datasets.epic import EpicKitchens
from mmcache.store.errors import ConfigError
from mmcache.store.segments import check_segments

HEADER = (
    "narration_id,participant_id,video_id,narration_timestamp,start_timestamp,stop_timestamp,start_frame,stop_frame,"
    "narration,verb,verb_class,noun,noun_class,all_nouns,all_noun_classes"
)
FILES = {
    "train": "EPIC_100_train.csv",
    "validation": "EPIC_100_validation.csv",
    "test": "EPIC_100_test_timestamps.csv",
}
SPAN_HEADER = ",".join(HEADER.split(",")[:8])
VERBS = ["take", "put", "wash", "turn-on", "pour:out"]
NOUNS = ["tap", "spoon", "plate", "board:chopping", "machine:sous:vide", "paper"]


def line(
    narration: str,
    start: str,
    stop: str,
    verb: int | str = 0,
    noun: int | str = 2,
    *,
    verb_text: str = "pick-up",
    noun_text: str = "dish",
    narrated: str = "00:00:00.560",
    nouns: str = "\"['dish']\"",
    noun_classes: str = '"[2]"',
    video: str | None = None,
) -> str:
    """A row as in the official files. The text columns are parsed words, which differ from the class keys."""
    video = video or narration.rpartition("_")[0]
    return (
        f"{narration},{video[:3]},{video},{narrated},{start},{stop},1,113,{verb_text} the {noun_text},"
        f"{verb_text},{verb},{noun_text},{noun},{nouns},{noun_classes}"
    )


def span_line(narration: str, start: str, stop: str) -> str:
    video = narration.rpartition("_")[0]
    return f"{narration},{video[:3]},{video},00:00:00.56,{start},{stop},1,113"


def class_file(keys: list[str]) -> str:
    """Windows line ends and none after the last line, as the official class files have."""
    return "\r\n".join(
        ["id,key,instances,category", *(f"{i},{key},\"['{key}', 'more']\",some" for i, key in enumerate(keys))]
    )


def write_annotations(
    folder: Path,
    train: list[str],
    validation: list[str] | None = None,
    test: list[str] | None = None,
    verbs: list[str] = VERBS,
    nouns: list[str] = NOUNS,
) -> Path:
    """`root` to be, with annotations in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "EPIC_100_verb_classes.csv").write_bytes(class_file(verbs).encode())
    (folder / "EPIC_100_noun_classes.csv").write_bytes(class_file(nouns).encode())
    for split, rows in (("train", train), ("validation", validation), ("test", test)):
        if rows is not None:
            header = SPAN_HEADER if split == "test" else HEADER
            (folder / FILES[split]).write_text("\n".join([header, *rows]) + "\n")
    return folder


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


TRAIN = [
    line("P01_11_0", "00:00:00.00", "00:00:01.89"),
    line("P01_11_1", "00:00:02.10", "00:00:03.00", 3, 3, verb_text="switch-on", noun_text="board"),
]


# --- annotations -------------------------------------------------------------------------------------------------


def test_rows_become_segments_with_classes_from_the_class_columns(tmp_path: Path) -> None:
    root = write_annotations(
        tmp_path,
        TRAIN,
        [line("P02_03_7", "01:02:03.50", "01:02:04.25", 4, 4, nouns="\"['machine', 'tap']\"", noun_classes='"[4, 0]"')],
        [span_line("P03_101_2", "00:10:00.20", "00:10:00.30")],
    )
    dataset = EpicKitchens(root)
    assert dataset.problems == []
    assert dataset.tasks == {"verb": VERBS, "noun": NOUNS}
    table = dataset.segments
    assert table["id"].tolist() == ["P01_11_0", "P01_11_1", "P02_03_7", "P03_101_2"]
    assert table["video"].tolist() == ["P01_11", "P01_11", "P02_03", "P03_101"]
    assert table["split"].tolist() == ["train", "train", "validation", "test"]
    np.testing.assert_allclose(table["start_s"].astype(float), [0.0, 2.1, 3723.5, 600.2])
    np.testing.assert_allclose(table["stop_s"].astype(float), [1.89, 3.0, 3724.25, 600.3])
    assert table["verb"].tolist() == [0, 3, 4, -1]
    assert table["noun"].tolist() == [2, 3, 4, -1]
    assert dataset.tasks["noun"][table["noun"][1]] == "board:chopping"
    assert dataset.tasks["verb"][table["verb"][1]] == "turn-on"
    assert table["participant"].tolist() == ["P01", "P01", "P02", "P03"]
    assert dataset.eval_split == "validation"
    check_segments(table, dataset.tasks)  # a store takes them


def test_heads_are_sized_by_the_class_files_though_few_classes_occur(tmp_path: Path) -> None:
    verbs, nouns = [f"verb-{i}" for i in range(97)], [f"noun:{i}" for i in range(300)]
    dataset = EpicKitchens(write_annotations(tmp_path, TRAIN, verbs=verbs, nouns=nouns))
    assert dataset.tasks == {"verb": verbs, "noun": nouns}


def test_the_larger_second_noun_file_is_not_used(tmp_path: Path) -> None:
    root = write_annotations(tmp_path, TRAIN)
    (root / "EPIC_100_noun_classes_v2.csv").write_bytes(class_file([*NOUNS, "hand:left"]).encode())
    assert EpicKitchens(root).tasks["noun"] == NOUNS


def test_an_empty_narration_time_loses_no_segment(tmp_path: Path) -> None:
    dataset = EpicKitchens(write_annotations(tmp_path, [line("P01_11_0", "00:00:00.00", "00:00:01.89", narrated="")]))
    assert (len(dataset.segments), dataset.problems) == (1, [])


def test_file_order_by_id_becomes_time_order(tmp_path: Path) -> None:
    """Official files sort ids as text: _1, _10, _100, _101, _2."""
    numbers = sorted(range(120), key=str)
    starts = {i: 2.0 * i for i in range(120)}

    def stamp(seconds: float) -> str:
        return f"00:{int(seconds) // 60:02d}:{seconds % 60:05.2f}"

    rows = [
        line(f"{video}_{i}", stamp(starts[i]), stamp(starts[i] + 1.5))
        for video in ("P01_101", "P01_11")
        for i in numbers
    ]
    for given_rows in (rows, rows[::-1]):
        table = EpicKitchens(write_annotations(tmp_path, given_rows)).segments
        assert table["id"].tolist() == [f"{video}_{i}" for video in ("P01_101", "P01_11") for i in range(120)]
        for _, of_video in table.groupby("video"):
            assert of_video["start_s"].is_monotonic_increasing
        assert list(table.index) == list(range(240))


def test_overlapping_and_identical_spans_are_all_kept(tmp_path: Path) -> None:
    rows = [
        line("P01_11_0", "00:00:00.00", "00:00:05.00", 0, 1),
        line("P01_11_1", "00:00:01.00", "00:00:03.00", 1, 2),
        line("P01_11_2", "00:00:01.00", "00:00:03.00", 2, 2),
        line("P01_11_3", "00:00:01.00", "00:00:03.00", 2, 2),
    ]
    dataset = EpicKitchens(write_annotations(tmp_path, rows))
    assert dataset.segments["id"].tolist() == [f"P01_11_{i}" for i in range(4)]
    assert dataset.segments["verb"].tolist() == [0, 1, 2, 2]
    assert dataset.problems == []


@settings(max_examples=40, deadline=None)
@given(
    moments=st.lists(
        st.tuples(
            st.integers(0, 9), st.integers(0, 59), st.integers(0, 59), st.from_regex(r"[0-9]{1,6}", fullmatch=True)
        ),
        min_size=1,
        max_size=8,
    )
)
def test_the_fraction_of_a_timestamp_is_a_decimal_of_any_length(
    moments: list[tuple[int, int, int, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows = [
        line(f"P01_11_{i}", f"{h:02d}:{m:02d}:{s:02d}.{fraction}", "12:00:00.00")
        for i, (h, m, s, fraction) in enumerate(moments)
    ]
    dataset = EpicKitchens(write_annotations(tmp_path_factory.mktemp("epic"), rows))
    found = dict(zip(dataset.segments["id"], dataset.segments["start_s"], strict=True))
    for i, (h, m, s, fraction) in enumerate(moments):
        expected = h * 3600 + m * 60 + s + int(fraction) / 10 ** len(fraction)
        assert found[f"P01_11_{i}"] == pytest.approx(expected, abs=1e-9)


def test_videos_of_every_split_are_kept_apart_and_in_order(tmp_path: Path) -> None:
    root = write_annotations(
        tmp_path,
        [line("P09_01_0", "00:00:01.00", "00:00:02.00")],
        [line("P05_01_0", "00:00:01.00", "00:00:02.00")],
        [span_line("P01_101_0", "00:00:01.00", "00:00:02.00")],
    )
    assert EpicKitchens(root).segments["split"].tolist() == ["train", "validation", "test"]


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_split_of_no_rows_or_no_file_is_no_error(split: str, tmp_path: Path) -> None:
    root = write_annotations(tmp_path, TRAIN, **{split: []})
    with_empty = EpicKitchens(root)
    check_segments(with_empty.segments, with_empty.tasks)
    (root / FILES[split]).unlink()
    without = EpicKitchens(root)
    assert with_empty.segments["id"].tolist() == without.segments["id"].tolist() == ["P01_11_0", "P01_11_1"]
    for column in ("start_s", "stop_s"):
        assert with_empty.segments[column].dtype == np.float64


# --- broken rows ---------------------------------------------------------------------------------------------------

BROKEN = {
    "bad start": (line("P01_11_5", "00:00:xx", "00:00:09.00"), "timestamp '00:00:xx' is not HH:MM:SS.ss"),
    "seconds alone": (line("P01_11_5", "12.5", "00:00:19.00"), "timestamp '12.5' is not HH:MM:SS.ss"),
    "no stop": (line("P01_11_5", "00:00:08.00", ""), "timestamp '' is not HH:MM:SS.ss"),
    "stops before it starts": (line("P01_11_5", "00:00:09.00", "00:00:08.00"), "not after its start 9.0 s"),
    "stops as it starts": (line("P01_11_5", "00:00:09.00", "00:00:09.00"), "not after its start 9.0 s"),
    "verb too large": (line("P01_11_5", "00:00:08.00", "00:00:09.00", 5), "verb_class '5' is not one of 0..4"),
    "noun too large": (line("P01_11_5", "00:00:08.00", "00:00:09.00", 0, 6), "noun_class '6' is not one of 0..5"),
    "noun below zero": (line("P01_11_5", "00:00:08.00", "00:00:09.00", 0, -1), "noun_class '-1' is not one of 0..5"),
    "verb is a word": (line("P01_11_5", "00:00:08.00", "00:00:09.00", "take"), "verb_class 'take' is not one of 0..4"),
    "no noun": (line("P01_11_5", "00:00:08.00", "00:00:09.00", 0, ""), "noun_class '' is not one of 0..5"),
    "foreign id": (
        line("P01_12_5", "00:00:08.00", "00:00:09.00", video="P01_11"),
        "narration id 'P01_12_5' does not belong to video P01_11",
    ),
    "id of a longer video": (
        line("P01_110_5", "00:00:08.00", "00:00:09.00", video="P01_11"),
        "does not belong to video P01_11",
    ),
    "no video id": (line("kitchen_5", "00:00:08.00", "00:00:09.00"), "'kitchen' is no video id"),
    "a path for a video": (line("../../x_5", "00:00:08.00", "00:00:09.00"), "'../../x' is no video id"),
    "no id": (line("P01_11_5", "00:00:08.00", "00:00:09.00").replace("P01_11_5", "", 1), "(no id)"),
    "cut off": ("P01_11_5,P01,P01_11,00:00:00.5", "is not HH:MM:SS.ss"),
    "repeated id": (line("P01_11_1", "00:00:08.00", "00:00:09.00"), "narration 'P01_11_1' appears twice"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_row_is_told_with_its_line_and_costs_no_other(kind: str, tmp_path: Path) -> None:
    row, reason = BROKEN[kind]
    rows = [TRAIN[0], TRAIN[1], row, line("P01_11_9", "00:00:10.00", "00:00:11.00")]
    dataset = EpicKitchens(write_annotations(tmp_path, rows))
    assert dataset.segments["id"].tolist() == ["P01_11_0", "P01_11_1", "P01_11_9"]
    assert dataset.segments["start_s"].tolist() == [0.0, 2.1, 10.0]  # of a repeated id the first is used
    assert len(dataset.problems) == 1
    assert reason in dataset.problems[0]
    assert "EPIC_100_train.csv line 4" in dataset.problems[0]


def test_lines_are_those_of_the_file_though_some_are_blank(tmp_path: Path) -> None:
    rows = [TRAIN[0], "", "", BROKEN["no stop"][0], TRAIN[1]]
    dataset = EpicKitchens(write_annotations(tmp_path, rows))
    assert len(dataset.segments) == 2
    assert [problem.split(" (")[0] for problem in dataset.problems] == ["EPIC_100_train.csv line 5"]


def test_an_id_of_two_splits_is_used_once(tmp_path: Path) -> None:
    root = write_annotations(tmp_path, TRAIN, [line("P01_11_1", "00:00:20.00", "00:00:21.00")])
    dataset = EpicKitchens(root)
    assert dataset.segments["split"].tolist() == ["train", "train"]
    assert len(dataset.problems) == 1
    assert "P01_11_1" in dataset.problems[0]


def test_a_file_cut_off_in_the_middle_keeps_the_rows_before_the_cut(tmp_path: Path) -> None:
    rows = [line(f"P01_11_{i}", f"00:00:{2 * i:02d}.00", f"00:00:{2 * i + 1:02d}.50") for i in range(20)]
    root = write_annotations(tmp_path, rows)
    path = root / FILES["train"]
    content = path.read_bytes()
    for size in range(len(content) - len(rows[-1]), len(content) - 1, 7):
        path.write_bytes(content[:size])
        if content[:size].count(b'"') % 2:  # cut inside quotes: no CSV any more
            with pytest.raises(ConfigError, match=r"EPIC_100_train\.csv is not a readable CSV"):
                EpicKitchens(root)
            continue
        dataset = EpicKitchens(root)
        assert dataset.segments["id"].tolist()[:19] == [f"P01_11_{i}" for i in range(19)]
        assert len(dataset.segments) + len(dataset.problems) == 20


# --- where annotations are looked for ----------------------------------------------------------------------------


@pytest.mark.parametrize("folder", [".", "annotations", "epic-kitchens-100-annotations"])
def test_annotations_are_found_in_the_usual_folders(folder: str, tmp_path: Path) -> None:
    write_annotations(tmp_path / folder, TRAIN)
    assert len(EpicKitchens(tmp_path).segments) == 2


def test_a_given_folder_of_annotations_goes_before_the_usual_ones(tmp_path: Path) -> None:
    root = write_annotations(tmp_path / "root", TRAIN)
    other = write_annotations(tmp_path / "other", TRAIN[:1])
    assert len(EpicKitchens(root, other).segments) == 1
    with pytest.raises(ConfigError, match=r"no folder .*nowhere \(given as --annotations\)"):
        EpicKitchens(root, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"no EPIC-KITCHENS-100 annotations in .*empty\. Clone https://github\.com/"):
        EpicKitchens(root, tmp_path / "empty")


def test_no_root_or_no_annotations_says_what_to_download_and_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no folder .*nowhere\. Put EPIC-KITCHENS-100 there.*--root.*github\.com"):
        EpicKitchens(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="no EPIC-KITCHENS-100 annotations") as caught:
        EpicKitchens(tmp_path)
    for part in ("annotations,", "epic-kitchens-100-annotations", "github.com/epic-kitchens", "--annotations DIR"):
        assert part in str(caught.value)


def test_all_missing_files_are_named_at_once(tmp_path: Path) -> None:
    root = write_annotations(tmp_path, TRAIN)
    (root / "EPIC_100_noun_classes.csv").unlink()
    (root / FILES["train"]).unlink()
    with pytest.raises(ConfigError, match="2 things to put right") as caught:
        EpicKitchens(root)
    for name in ("EPIC_100_noun_classes.csv is missing", "EPIC_100_train.csv is missing", "github.com/epic-kitchens"):
        assert name in str(caught.value)


def test_all_missing_columns_are_named_at_once(tmp_path: Path) -> None:
    root = write_annotations(tmp_path, TRAIN, [line("P02_01_0", "00:00:01.00", "00:00:02.00")])
    for file, lost in (
        ("EPIC_100_noun_classes.csv", ["key"]),
        (FILES["train"], ["verb_class", "stop_timestamp"]),
        (FILES["validation"], ["noun_class"]),
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
        (b"", "is not a readable CSV"),
        (np.random.default_rng(0).bytes(5000), "is not a readable CSV"),
        (HEADER.encode() + b'\nP01_11_0,P01,"P01_11,00:\n', "is not a readable CSV"),
    ],
    ids=["empty", "random bytes", "open quote"],
)
def test_a_file_that_is_no_csv_is_named(content: bytes, reason: str, tmp_path: Path) -> None:
    root = write_annotations(tmp_path, TRAIN)
    (root / FILES["train"]).write_bytes(content)
    with pytest.raises(ConfigError, match=rf"EPIC_100_train\.csv {reason}"):
        EpicKitchens(root)


@pytest.mark.parametrize("ids", [[0, 2, 1], [1, 2, 3], [0, 1, 3], [0, 1, 1]])
def test_class_ids_that_do_not_count_from_zero_are_refused(ids: list[int], tmp_path: Path) -> None:
    root = write_annotations(tmp_path, TRAIN)
    rows = [f"{i},key{i},['x'],c" for i in ids]
    (root / "EPIC_100_verb_classes.csv").write_text("\r\n".join(["id,key,instances,category", *rows]))
    with pytest.raises(ConfigError, match=r"EPIC_100_verb_classes\.csv: ids must be 0, 1, 2, \.\.\. without gaps"):
        EpicKitchens(root)


# --- media -------------------------------------------------------------------------------------------------------

LAYOUTS: dict[str, tuple[str, str]] = {
    # layout -> (folder of the videos of P01, folder of its IMU files)
    "downloader": ("P01/videos", "P01/meta_data"),
    "downloader, one level up": ("EPIC-KITCHENS/P01/videos", "EPIC-KITCHENS/P01/meta_data"),
    "server, train": ("videos/train/P01", "meta_data/train/P01"),
    "server, test": ("videos/test/P01", "meta_data/test/P01"),
    "server, one level up": ("EPIC-KITCHENS/videos/test/P01", "EPIC-KITCHENS/meta_data/train/P01"),
    "server, 2018 split beside the downloader": ("videos/test/P01", "P01/meta_data"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_media_are_found_in_every_official_layout(layout: str, tmp_path: Path) -> None:
    videos, meta = LAYOUTS[layout]
    root = write_annotations(tmp_path, [line("P01_101_0", "00:00:00.00", "00:00:01.89")])
    film = touch(root / videos / "P01_101.MP4")
    accl, gyro = (touch(root / meta / f"P01_101-{sensor}.csv") for sensor in ("accl", "gyro"))
    dataset = EpicKitchens(root)
    assert dataset.source("rgb", "P01_101") == Source("video", (film,))
    assert dataset.source("audio", "P01_101") == Source("audio", (film,))
    assert dataset.source("imu", "P01_101") == Source("imu", (accl, gyro))
    for modality in dataset.modalities:
        for other in ("P01_102", "P01_10", "P01_01", "P02_101"):
            assert dataset.source(modality, other) is None


def test_imu_exists_for_some_videos_only(tmp_path: Path) -> None:
    root = write_annotations(tmp_path, [*TRAIN, line("P01_101_0", "00:00:00.00", "00:00:01.89")])
    for video in ("P01_11", "P01_101"):
        touch(root / "P01" / "videos" / f"{video}.MP4")
    for sensor in ("accl", "gyro"):
        touch(root / "P01" / "meta_data" / f"P01_101-{sensor}.csv")
    dataset = EpicKitchens(root)
    assert dataset.source("imu", "P01_11") is None
    assert dataset.source("imu", "P01_101") is not None
    assert dataset.source("rgb", "P01_11") is not None


@pytest.mark.parametrize("lost", ["accl", "gyro"])
def test_one_of_the_imu_pair_is_no_missing_modality_but_a_broken_download(lost: str, tmp_path: Path) -> None:
    root = write_annotations(tmp_path, [line("P01_101_0", "00:00:00.00", "00:00:01.89")])
    folder = root / "P01" / "meta_data"
    kept = {"accl": "gyro", "gyro": "accl"}[lost]
    touch(folder / f"P01_101-{kept}.csv")
    source = EpicKitchens(root).source("imu", "P01_101")
    assert source == Source("imu", (folder / "P01_101-accl.csv", folder / "P01_101-gyro.csv"))


def test_what_to_download_is_told_with_the_folders_looked_in(tmp_path: Path) -> None:
    text = EpicKitchens(write_annotations(tmp_path, TRAIN)).expected_layout()
    assert str(tmp_path) in text
    assert "PXX/videos/PXX_YY.MP4" in text
    assert re.search(r"https://github\.com/epic-kitchens/epic-kitchens-download-scripts", text)


def test_the_table_of_data_sets_opens_it(tmp_path: Path) -> None:
    opened: Callable[..., object] = DATASETS["epic"][0]
    assert isinstance(opened(write_annotations(tmp_path, TRAIN), None), EpicKitchens)
