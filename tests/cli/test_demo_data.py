"""The data set of the demo is one that the official reader reads, and the same seed makes the same one."""

from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
import yaml

from mmcache.cli.demo_data import NOUNS, VERBS, DemoVideo, demo_videos, write_epic_demo
from mmcache.common.settings import resolve
from mmcache.extract.datasets.epic.epic_kitchens import EpicKitchens
from mmcache.extract.planning.extract_config import ExtractConfig

ANNOTATIONS = "epic-kitchens-100-annotations"
COLUMNS = [
    *("narration_id", "participant_id", "video_id", "narration_timestamp", "start_timestamp", "stop_timestamp"),
    *("start_frame", "stop_frame", "narration", "verb", "verb_class", "noun", "noun_class"),
    *("all_nouns", "all_noun_classes"),
]


def table(root: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(root / ANNOTATIONS / name, dtype=str, keep_default_na=False)


def seconds(stamps: pd.Series) -> pd.Series:
    return pd.to_timedelta(stamps).dt.total_seconds()


def test_the_same_seed_writes_the_same_and_another_does_not(tmp_path: Path) -> None:
    videos = [DemoVideo("P01_101", "train", 3), DemoVideo("P02_01", "validation", 2, imu=False)]
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_epic_demo(tmp_path / name, videos, seed)
    texts = {
        name: {str(p.relative_to(tmp_path / name)): p.read_bytes() for p in (tmp_path / name).rglob("*.csv")}
        for name in "abc"
    }
    assert texts["a"] == texts["b"]
    assert len(texts["a"]) == 5 + 2
    assert texts["a"].keys() == texts["c"].keys()
    differing = {name.split("/")[-1] for name in texts["a"] if texts["a"][name] != texts["c"][name]}
    assert differing == {
        "EPIC_100_train.csv",
        "EPIC_100_validation.csv",
        "P01_101-accl.csv",
        "P01_101-gyro.csv",
    }


def test_annotations_have_the_official_form(epic_root: Path) -> None:
    train, validation = table(epic_root, "EPIC_100_train.csv"), table(epic_root, "EPIC_100_validation.csv")
    test = table(epic_root, "EPIC_100_test_timestamps.csv")
    assert list(train.columns) == list(validation.columns) == COLUMNS
    assert list(test.columns) == COLUMNS[:8]
    every = pd.concat([train, validation, test])
    assert every["narration_id"].is_unique
    assert every["narration_id"].str.fullmatch(r"P\d\d_\d{2,3}_\d+").all()
    assert (every["narration_id"].str.rpartition("_")[0] == every["video_id"]).all()
    assert (every["video_id"].str[:3] == every["participant_id"]).all()
    assert every["start_timestamp"].str.fullmatch(r"\d\d:\d\d:\d\d\.\d\d").all()
    assert every["stop_timestamp"].str.fullmatch(r"\d\d:\d\d:\d\d\.\d\d").all()
    assert every["narration_timestamp"].str.fullmatch(r"\d\d:\d\d:\d\d\.\d\d\d").all()
    for split in (train, validation, test):
        assert split["narration_id"].tolist() == sorted(split["narration_id"])
    labelled = pd.concat([train, validation])
    for row in labelled.itertuples():
        assert VERBS[int(row.verb_class)] == row.verb
        assert NOUNS[int(row.noun_class)] == row.noun
        assert (row.all_nouns, row.all_noun_classes) == (f"['{row.noun}']", f"[{row.noun_class}]")


def test_class_files_have_windows_line_ends_and_no_last_one(epic_root: Path) -> None:
    for task, keys in (("verb", VERBS), ("noun", NOUNS)):
        raw = (epic_root / ANNOTATIONS / f"EPIC_100_{task}_classes.csv").read_bytes()
        assert raw.count(b"\r\n") == raw.count(b"\n") == len(keys)
        assert not raw.endswith(b"\n")
        found = table(epic_root, f"EPIC_100_{task}_classes.csv")
        assert list(found.columns) == ["id", "key", "instances", "category"]
        assert found["key"].tolist() == list(keys)


def test_frame_numbers_count_jpegs_at_60_or_50_a_second(epic_root: Path) -> None:
    every = pd.concat([table(epic_root, f"EPIC_100_{name}.csv") for name in ("train", "validation", "test_timestamps")])
    rate = np.where(every["video_id"].str.len() == 7, 50, 60)
    assert set(rate) == {50, 60}
    for column in ("start", "stop"):
        exact = seconds(every[f"{column}_timestamp"]).to_numpy() * rate
        frames = every[f"{column}_frame"].astype(int).to_numpy()
        assert (np.abs(frames - exact) <= 1).all()
        assert (frames >= 1).all()
    assert (every["stop_frame"].astype(int) > every["start_frame"].astype(int)).all()


def test_media_hold_every_segment_and_lack_what_they_should(epic_root: Path) -> None:
    dataset = EpicKitchens(epic_root)
    assert dataset.problems == []
    lacking = {"rgb": ["P03_101"], "audio": ["P03_101"], "imu": ["P02_01", "P06_01"]}
    ends = dataset.segments.groupby("video")["stop_s"].max()
    lacking["flow"] = lacking["boxes"] = list(ends.index)  # the demo has none
    assert len(ends) == 8
    for video, end in ends.items():
        for modality in dataset.modalities:
            assert (dataset.source(modality, video) is None) == (video in lacking[modality]), (video, modality)
        film = dataset.source("rgb", str(video))
        if film is not None:
            with av.open(str(film.paths[0])) as container:
                assert container.duration / av.time_base > end
                assert len(container.streams.audio) == (video != "P02_102")
                picture = container.streams.video[0]
                expected = 50.0 if len(str(video)) == 7 else 59.94
                assert float(picture.average_rate) == pytest.approx(expected, abs=0.01)
        imu = dataset.source("imu", str(video))
        if imu is not None:
            clocks = [pd.read_csv(path)["Milliseconds"] for path in imu.paths]
            assert min(clock.iloc[-1] for clock in clocks) / 1000 > end
            assert clocks[0].iloc[0] != clocks[1].iloc[0]


def test_the_standard_list_is_like_the_real_set() -> None:
    videos = demo_videos()
    names = [video.name for video in videos]
    assert len(set(names)) == len(names)
    by_split = {split: {v.name[:3] for v in videos if v.split == split} for split in ("train", "validation", "test")}
    assert all(by_split.values())
    assert not by_split["train"] & by_split["validation"]
    train = [video for video in videos if video.split == "train"]
    for lacks in ("picture", "sound", "imu"):
        assert any(not getattr(video, lacks) for video in train)
    for video in videos:  # IMU came with the extension
        assert len(video.name) == 7 or not video.imu


def test_its_settings_are_ones_the_commands_take(epic_root: Path) -> None:
    saved = yaml.safe_load((epic_root / "mmcache.yaml").read_text())
    resolve(ExtractConfig, {"file": saved["extract"], "flags": {"dataset": "epic"}}).check()


def test_splits_without_videos_can_be_written(tmp_path: Path) -> None:
    write_epic_demo(tmp_path, [DemoVideo("P01_101", "train", 1, picture=False)], seed=0)
    assert len(EpicKitchens(tmp_path).segments) == 1
