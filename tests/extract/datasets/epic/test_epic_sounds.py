"""EPIC-SOUNDS annotations as the official files are written, by hand."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mmcache.extract.datasets import DATASETS
from mmcache.extract.datasets.epic.epic_sounds import EpicSounds
from mmcache.extract.media import AudioRequest, read_media
from mmcache.extract.media.base.source import Source
from mmcache.store.ground.errors import ConfigError
from mmcache.store.segments.segment_table import check_segments

HEADER = (
    "annotation_id,participant_id,video_id,start_timestamp,stop_timestamp,start_sample,stop_sample,"
    "description,class,class_id"
)
TRAIN = [
    "P01_01_1,P01,P01_01,00:00:03.250,00:00:04.000,78000,96000,tap on,water,2",
    "P01_01_10,P01,P01_01,00:00:01.005,00:00:01.205,24120,28920,clank,metal / plastic collision,7",
    "P01_01_2,P01,P01_01,00:00:01.000,00:15:12.400,24000,21897600,hum,background,13",
]
VALIDATION = ['P18_01_0,P18,P18_01,00:00:00.000,00:00:00.900,0,21600,"cut, cut",water,2']
TEST = ["P33_101_0,P33,P33_101,01:00:00.500,01:00:01.000,86412000,86424000"]


def write(folder: Path, train: list[str] = TRAIN, validation: list[str] = VALIDATION, test: list[str] = TEST) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "EPIC_Sounds_train.csv": [HEADER, *train],
        "EPIC_Sounds_validation.csv": [HEADER, *validation],
        "EPIC_Sounds_recognition_test_timestamps.csv": [",".join(HEADER.split(",")[:7]), *test],
    }
    for name, lines in files.items():
        (folder / name).write_text("\n".join(lines) + "\n")
    return folder


def test_rows_become_segments_by_time_with_classes_from_the_pairs(tmp_path: Path) -> None:
    sounds = EpicSounds(write(tmp_path))
    table = sounds.segments
    assert table["id"].tolist() == ["P01_01_2", "P01_01_10", "P01_01_1", "P18_01_0", "P33_101_0"]
    assert table["start_s"].tolist() == [1.0, 1.005, 3.25, 0.0, 3600.5]
    assert table["stop_s"].tolist() == [912.4, 1.205, 4.0, 0.9, 3601.0]
    assert table["split"].tolist() == ["train"] * 3 + ["validation", "test"]
    assert table["sound"].tolist() == [13, 7, 2, 2, -1]
    names = sounds.tasks["sound"]
    assert (len(names), names[2], names[7], names[13]) == (44, "water", "metal / plastic collision", "background")
    assert names[0] == "class 0", "no row has it, but the head is sized for it"
    check_segments(table, sounds.tasks)
    assert sounds.problems == []
    assert sounds.eval_split == "validation"


@pytest.mark.parametrize("folder", [".", "annotations", "epic-sounds-annotations"])
def test_media_are_those_of_epic_kitchens(folder: str, tmp_path: Path) -> None:
    write(tmp_path / folder)
    film = tmp_path / "P01/videos/P01_01.MP4"
    film.parent.mkdir(parents=True)
    film.touch()
    sounds, _ = DATASETS["epic-sounds"]
    dataset = sounds(tmp_path, None)
    assert dataset.source("audio", "P01_01") == Source("audio", (film,))
    assert dataset.source("rgb", "P01_01") == Source("video", (film,))
    assert dataset.source("audio", "P18_01") is None


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("P01_01_9,P01,P01_01,00:00:05,00:00:04.0,0,0,x,water,2", "stops at 4.0 s, not after its start 5.0 s"),
        ("P01_01_9,P01,P01_01,later,00:00:04.0,0,0,x,water,2", "timestamp 'later' is not HH:MM:SS.ss"),
        ("P01_01_9,P01,../etc,00:00:01,00:00:04.0,0,0,x,water,2", "'../etc' is no video id"),
        (",P01,P01_01,00:00:01,00:00:04.0,0,0,x,water,2", "(no id): annotation id '' does not belong to video P01_01"),
        ("P01_02_9,P01,P01_01,00:00:01,00:00:04.0,0,0,x,water,2", "'P01_02_9' does not belong to video P01_01"),
        ("P01_01_NC_9,P01,P01_01,00:00:01,00:00:04.0,0,0,x,water,2", "'P01_01_NC_9' is not P01_01_ and a number"),
        ("P01_01_9,P01,P01_01,00:61:01,01:62:04.0,0,0,x,water,2", "timestamp '00:61:01' is not HH:MM:SS.ss"),
        ("P01_01_1,P01,P01_01,00:00:01,00:00:04.0,0,0,x,water,2", "'P01_01_1' appears twice"),
    ],
)
def test_a_broken_row_is_told_and_costs_no_other(row: str, reason: str, tmp_path: Path) -> None:
    sounds = EpicSounds(write(tmp_path, [*TRAIN, row]))
    assert len(sounds.segments) == 5
    (problem,) = sounds.problems
    assert reason in problem


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("P01_01_9,P01,P01_01,00:00:01,00:00:04,0,0,x,tap,2", "class 2 is called 'water' and 'tap'"),
        ("P01_01_9,P01,P01_01,00:00:01,00:00:04,0,0,x,tap,44", "class id '44' .tap. is not one of 0..43"),
        ("P01_01_9,P01,P01_01,00:00:01,00:00:04,0,0,x,tap,", "class id '' .tap. is not one of 0..43"),
    ],
)
def test_classes_that_contradict_each_other_are_refused(row: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=reason):
        EpicSounds(write(tmp_path, [*TRAIN, row]))


def test_events_without_a_class_are_no_segments(tmp_path: Path) -> None:
    """sound_events_not_categorised.csv lies beside the others, spans every split, and labels nothing."""
    plain = EpicSounds(write(tmp_path)).segments
    header = ",".join([*HEADER.split(",")[:7], "description"])
    rows = [
        "P01_01_NC_0,P01,P01_01,00:00:01.000,00:00:02.000,24000,48000,something",
        "P33_101_NC_1,P33,P33_101,00:00:01.000,00:38:11.000,24000,54984000,",
    ]
    (tmp_path / "sound_events_not_categorised.csv").write_text("\n".join([header, *rows]) + "\n")
    (tmp_path / "EPIC_Sounds_detection_test_videos.csv").write_text("video_id\nP33_102\n")
    sounds = EpicSounds(tmp_path)
    assert sounds.segments.equals(plain)
    assert sounds.problems == []


def test_the_official_test_row_that_ends_long_after_its_video_is_read_to_the_end(
    tmp_path: Path, write_sound: Callable[..., Path]
) -> None:
    row = "P34_103_1,P34,P34_103,00:00:08.000,00:15:12.400,192000,21897600"
    sounds = EpicSounds(write(tmp_path, test=[row]))
    segment = sounds.segments.set_index("id").loc["P34_103_1"]
    (tmp_path / "audio").mkdir()
    write_sound(tmp_path / "audio/P34_103.wav", np.full(12 * 24000, 0.25), 24000, "pcm_s16le", "wav")
    source = sounds.source("audio", "P34_103")
    assert source is not None
    reading = read_media(source, segment["start_s"], segment["stop_s"], AudioRequest(rate=16000, max_seconds=10.0))
    assert len(reading.array) == 4 * 16000
    assert reading.note == "segment ends 900.40 s past the audio's end; clamped"


def test_without_annotations_it_says_what_to_clone(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"no EPIC-SOUNDS annotations in .*They come from https://github\.com/.*epic-sounds"
    ):
        EpicSounds(tmp_path)
