"""The EPIC-KITCHENS-100 reader on trees written by hand, as the official files and downloads are described."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmcache.extract.datasets.epic.epic_kitchens import EpicKitchens
from mmcache.store.ground.errors import ConfigError
from mmcache.store.segments.segment_table import check_segments

WriteEpic = Callable[..., Path]
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


TRAIN = [
    line("P01_11_0", "00:00:00.00", "00:00:01.89"),
    line("P01_11_1", "00:00:02.10", "00:00:03.00", 3, 3, verb_text="switch-on", noun_text="board"),
]


# --- annotations -------------------------------------------------------------------------------------------------


def test_rows_become_segments_with_classes_from_the_class_columns(tmp_path: Path, write_epic: WriteEpic) -> None:
    root = write_epic(
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


def test_heads_are_sized_by_the_class_files_though_few_classes_occur(tmp_path: Path, write_epic: WriteEpic) -> None:
    verbs, nouns = [f"verb-{i}" for i in range(97)], [f"noun:{i}" for i in range(300)]
    dataset = EpicKitchens(write_epic(tmp_path, TRAIN, verbs=verbs, nouns=nouns))
    assert dataset.tasks == {"verb": verbs, "noun": nouns}


def test_the_larger_second_noun_file_is_not_used(tmp_path: Path, write_epic: WriteEpic) -> None:
    root = write_epic(tmp_path, TRAIN)
    newer = root / "EPIC_100_noun_classes_v2.csv"
    newer.write_bytes((root / "EPIC_100_noun_classes.csv").read_bytes() + b"\r\n6,hand:left,['hand'],x")
    assert EpicKitchens(root).tasks["noun"] == NOUNS


def test_an_empty_narration_time_loses_no_segment(tmp_path: Path, write_epic: WriteEpic) -> None:
    dataset = EpicKitchens(write_epic(tmp_path, [line("P01_11_0", "00:00:00.00", "00:00:01.89", narrated="")]))
    assert (len(dataset.segments), dataset.problems) == (1, [])


def test_file_order_by_id_becomes_time_order(tmp_path: Path, write_epic: WriteEpic) -> None:
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
        table = EpicKitchens(write_epic(tmp_path, given_rows)).segments
        assert table["id"].tolist() == [f"{video}_{i}" for video in ("P01_101", "P01_11") for i in range(120)]
        for _, of_video in table.groupby("video"):
            assert of_video["start_s"].is_monotonic_increasing
        assert list(table.index) == list(range(240))


def test_overlapping_and_identical_spans_are_all_kept(tmp_path: Path, write_epic: WriteEpic) -> None:
    rows = [
        line("P01_11_0", "00:00:00.00", "00:00:05.00", 0, 1),
        line("P01_11_1", "00:00:01.00", "00:00:03.00", 1, 2),
        line("P01_11_2", "00:00:01.00", "00:00:03.00", 2, 2),
        line("P01_11_3", "00:00:01.00", "00:00:03.00", 2, 2),
    ]
    dataset = EpicKitchens(write_epic(tmp_path, rows))
    assert dataset.segments["id"].tolist() == [f"P01_11_{i}" for i in range(4)]
    assert dataset.segments["verb"].tolist() == [0, 1, 2, 2]
    assert dataset.problems == []


@settings(max_examples=40)
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
    moments: list[tuple[int, int, int, str]],
    tmp_path_factory: pytest.TempPathFactory,
    write_epic: WriteEpic,
) -> None:
    rows = [
        line(f"P01_11_{i}", f"{h:02d}:{m:02d}:{s:02d}.{fraction}", "12:00:00.00")
        for i, (h, m, s, fraction) in enumerate(moments)
    ]
    dataset = EpicKitchens(write_epic(tmp_path_factory.mktemp("epic"), rows))
    found = dict(zip(dataset.segments["id"], dataset.segments["start_s"], strict=True))
    for i, (h, m, s, fraction) in enumerate(moments):
        expected = h * 3600 + m * 60 + s + int(fraction) / 10 ** len(fraction)
        assert found[f"P01_11_{i}"] == pytest.approx(expected, abs=1e-9)


def test_videos_of_every_split_are_kept_apart_and_in_order(tmp_path: Path, write_epic: WriteEpic) -> None:
    root = write_epic(
        tmp_path,
        [line("P09_01_0", "00:00:01.00", "00:00:02.00")],
        [line("P05_01_0", "00:00:01.00", "00:00:02.00")],
        [span_line("P01_101_0", "00:00:01.00", "00:00:02.00")],
    )
    assert EpicKitchens(root).segments["split"].tolist() == ["train", "validation", "test"]


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_split_of_no_rows_or_no_file_is_no_error(split: str, tmp_path: Path, write_epic: WriteEpic) -> None:
    root = write_epic(tmp_path, TRAIN, **{split: []})
    with_empty = EpicKitchens(root)
    check_segments(with_empty.segments, with_empty.tasks)
    (file,) = root.glob(f"EPIC_100_{split}*.csv")
    file.unlink()
    without = EpicKitchens(root)
    assert with_empty.segments["id"].tolist() == without.segments["id"].tolist() == ["P01_11_0", "P01_11_1"]
    for column in ("start_s", "stop_s"):
        assert with_empty.segments[column].dtype == np.float64


# --- broken rows ---------------------------------------------------------------------------------------------------

BROKEN = {
    "bad start": (line("P01_11_5", "00:00:xx", "00:00:09.00"), "timestamp '00:00:xx' is not HH:MM:SS.ss"),
    "seconds alone": (line("P01_11_5", "12.5", "00:00:19.00"), "timestamp '12.5' is not HH:MM:SS.ss"),
    "minutes past the hour": (
        line("P01_11_5", "00:60:08.00", "01:00:09.00"),
        "timestamp '00:60:08.00' is not HH:MM:SS.ss",
    ),
    "seconds past the minute": (
        line("P01_11_5", "00:00:08.00", "00:00:60.00"),
        "timestamp '00:00:60.00' is not HH:MM:SS.ss",
    ),
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
    "no number": (line("P01_11_x", "00:00:08.00", "00:00:09.00"), "'P01_11_x' is not P01_11_ and a number"),
    "two numbers": (
        line("P01_11_5_6", "00:00:08.00", "00:00:09.00", video="P01_11"),
        "'P01_11_5_6' is not P01_11_ and a number",
    ),
    "digits of another script": (line("P01_11_٥", "00:00:08.00", "00:00:09.00"), "is not P01_11_ and a number"),
    "nothing after the video": (
        line("P01_11_", "00:00:08.00", "00:00:09.00", video="P01_11"),
        "'P01_11_' is not P01_11_ and a number",
    ),
    "no video id": (line("kitchen_5", "00:00:08.00", "00:00:09.00"), "'kitchen' is no video id"),
    "a path for a video": (line("../../x_5", "00:00:08.00", "00:00:09.00"), "'../../x' is no video id"),
    "no id": (line("P01_11_5", "00:00:08.00", "00:00:09.00").replace("P01_11_5", "", 1), "(no id)"),
    "repeated id": (line("P01_11_1", "00:00:08.00", "00:00:09.00"), "narration 'P01_11_1' appears twice"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_row_is_told_with_its_line_and_costs_no_other(
    kind: str, tmp_path: Path, write_epic: WriteEpic
) -> None:
    row, reason = BROKEN[kind]
    rows = [TRAIN[0], TRAIN[1], row, line("P01_11_9", "00:00:10.00", "00:00:11.00")]
    dataset = EpicKitchens(write_epic(tmp_path, rows))
    assert dataset.segments["id"].tolist() == ["P01_11_0", "P01_11_1", "P01_11_9"]
    assert dataset.segments["start_s"].tolist() == [0.0, 2.1, 10.0]  # of a repeated id the first is used
    assert len(dataset.problems) == 1
    assert dataset.lost_rows == (0 if kind == "repeated id" else 1), "of a row that is there twice, nothing is lost"
    assert reason in dataset.problems[0]
    assert "EPIC_100_train.csv line 4" in dataset.problems[0]


def test_lines_are_those_of_the_file_though_some_are_blank(tmp_path: Path, write_epic: WriteEpic) -> None:
    rows = [TRAIN[0], "", "", BROKEN["no stop"][0], TRAIN[1]]
    dataset = EpicKitchens(write_epic(tmp_path, rows))
    assert len(dataset.segments) == 2
    assert [problem.split(" (")[0] for problem in dataset.problems] == ["EPIC_100_train.csv line 5"]


def test_an_id_of_two_splits_is_used_once(tmp_path: Path, write_epic: WriteEpic) -> None:
    root = write_epic(tmp_path, TRAIN, [line("P01_11_1", "00:00:20.00", "00:00:21.00")])
    dataset = EpicKitchens(root)
    assert dataset.segments["split"].tolist() == ["train", "train"]
    assert len(dataset.problems) == 1
    assert "P01_11_1" in dataset.problems[0]


def test_a_file_cut_off_in_the_middle_is_refused_with_the_line(tmp_path: Path, write_epic: WriteEpic) -> None:
    """Half of the annotations would train a model that nobody asked for."""
    rows = [line(f"P01_11_{i}", f"00:00:{2 * i:02d}.00", f"00:00:{2 * i + 1:02d}.50") for i in range(20)]
    root = write_epic(tmp_path, rows)
    path = root / "EPIC_100_train.csv"
    content = path.read_bytes()
    for size in range(len(content) - len(rows[-1]), len(content) - 10, 7):
        path.write_bytes(content[:size])
        reason = r"has \d+ cells?, the header has 15: a cell or the end|is no CSV: a quote is opened there and never"
        with pytest.raises(ConfigError, match=rf"EPIC_100_train\.csv line 21 ({reason})"):
            EpicKitchens(root)


def test_what_a_spreadsheet_does_to_cells_is_read_or_refused(tmp_path: Path, write_epic: WriteEpic) -> None:
    """Blanks and '2.0' mean what they did; where the times of a whole file are gone, it is not left out in silence."""
    kept = write_epic(tmp_path / "kept", [line(" P01_11_0", " 00:00:00.00", "00:00:01.89 ", "0.0", " 2.0 ")], TRAIN[1:])
    dataset = EpicKitchens(kept)
    assert dataset.problems == []
    assert dataset.segments[["id", "stop_s", "verb", "noun"]].to_numpy().tolist()[0] == ["P01_11_0", 1.89, 0, 2]
    lost = write_epic(tmp_path / "lost", [line("P01_11_0", "00:00.0", "00:01.9")], TRAIN[1:])
    with pytest.raises(ConfigError, match=r"none of the 1 rows of EPIC_100_train.csv can be used; .* '00:00.0' is not"):
        EpicKitchens(lost)
