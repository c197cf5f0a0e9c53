"""Lists of clips as people may have them, and what the reader makes of base and novel classes."""

import json
from pathlib import Path

import pandas as pd
import pytest

from mmcache.extract.datasets import DATASETS
from mmcache.extract.datasets.ego4d.mmg_ego4d import MmgEgo4d
from mmcache.extract.media.base.source import Source
from mmcache.store.ground.errors import ConfigError
from mmcache.store.segments.segment_table import check_segments

VIDEO, OTHER, STEREO = (f"{i}0000000-aaaa-4bbb-8ccc-1234567890ab" for i in range(3))
LIST = f"""\
clip_id,video_uid,start,end,label,split
a,{VIDEO},0,8.5,wash dishes,base
b,{VIDEO},8.5,17,cut wood,base
c,{OTHER},3,11,"sew, by hand",novel
d,{VIDEO},17,25,wash dishes,base
e,{OTHER},11,900,bake,novel
"""


def write(folder: Path, text: str = LIST, name: str = "mmg_ego4d.csv") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    videos = [
        {"video_uid": VIDEO, "duration_sec": 100.0, "video_metadata": {"audio_duration_sec": None}},
        {"video_uid": OTHER, "duration_sec": 20.0, "has_imu": False},
        {"video_uid": STEREO, "duration_sec": 20.0, "is_stereo": True},
    ]
    (folder / "ego4d.json").write_text(json.dumps({"videos": videos}))
    return folder


def test_classes_and_their_sets_are_those_of_the_list(tmp_path: Path) -> None:
    dataset = MmgEgo4d(write(tmp_path))
    table = dataset.segments.set_index("id")
    assert dataset.problems == []
    assert dataset.tasks == {"action": ["cut wood", "wash dishes", "bake", "sew, by hand"]}, "base, then novel"
    assert table["action"].to_dict() == {"a": 1, "b": 0, "c": 3, "d": 1, "e": 2}
    assert table["class_set"].to_dict() == {"a": "base", "b": "base", "c": "novel", "d": "base", "e": "novel"}
    assert table["split"].to_dict() == {"a": "train", "b": "train", "c": "test", "d": "train", "e": "test"}
    assert table.loc["e", ["start_s", "stop_s"]].tolist() == [11.0, 20.0], "cut at the video's end"
    assert dataset.eval_split == "test"
    check_segments(dataset.segments, dataset.tasks)
    assert "mmg-ego4d" in DATASETS


def test_media_are_those_of_ego4d(tmp_path: Path) -> None:
    write(tmp_path)
    for place in ("v2/full_scale", "v2/imu"):
        for uid in (VIDEO, OTHER):
            path = tmp_path / place / f"{uid}{'.csv' if 'imu' in place else '.mp4'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    dataset = MmgEgo4d(tmp_path)
    film = tmp_path / "v2/full_scale" / f"{OTHER}.mp4"
    assert dataset.source("rgb", OTHER) == Source("video", (film,))
    assert dataset.source("audio", OTHER) == Source("audio", (film,))
    assert dataset.source("audio", VIDEO) is None, "its audio was removed"
    assert dataset.source("imu", OTHER) is None, "it has none"
    assert dataset.source("imu", VIDEO) == Source("ego4d_imu", (tmp_path / "v2/imu" / f"{VIDEO}.csv",))
    assert MmgEgo4d(tmp_path, media="video_540ss").source("rgb", OTHER) is None
    assert "full_scale/<video_uid>.mp4" in dataset.expected_layout()


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("video_id,start_sec,end_sec,class,split", f"{VIDEO},1,2,run,base_train"),
        ("Video_UID , clip_start_sec,clip_end_sec, category,subset", f"{VIDEO},1,2,run,Train-Base"),
        ("video,start_time,stop,action,partition,set", f"{VIDEO},1,2,run,training,base"),
        ("id,video,start_s,stop_s,class_name,split,base_novel", f"x,{VIDEO},1,2,run,train,seen"),
        ("video_uid,start,end,label,split,class_set", f"{VIDEO},1.0,2.0,run,base/train,base"),
    ],
)
def test_columns_under_other_names_give_the_same(header: str, row: str, tmp_path: Path) -> None:
    dataset = MmgEgo4d(write(tmp_path, f"{header}\n{row}\n"))
    (segment,) = dataset.segments.drop(columns="id").to_dict("records")
    assert segment == {
        "video": VIDEO, "start_s": 1.0, "stop_s": 2.0, "split": "train", "class_set": "base", "action": 0
    }  # fmt: skip
    assert dataset.segments["id"].tolist() == (["x"] if header.startswith("id") else [f"{VIDEO}_1_2"])
    assert dataset.eval_split == "", "train is never reported on"


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("base", ("train", "base")),
        ("novel", ("test", "novel")),
        ("val_base", ("validation", "base")),
        ("novel_validation", ("validation", "novel")),
        ("Novel Train", ("train", "novel")),
        ("test-base", ("test", "base")),
        ("unseen", ("test", "novel")),
    ],
)
def test_a_split_may_say_two_things(split: str, expected: tuple[str, str], tmp_path: Path) -> None:
    table = MmgEgo4d(write(tmp_path, f"video,start,end,label,split\n{VIDEO},1,2,run,{split}\n")).segments
    assert (table["split"][0], table["class_set"][0]) == expected


def test_csv_parquet_and_json_give_the_same(tmp_path: Path) -> None:
    csv = MmgEgo4d(write(tmp_path / "csv"))
    table = pd.read_csv(tmp_path / "csv/mmg_ego4d.csv")
    parquet, listed = (
        tmp_path / "any.parquet",
        write(tmp_path / "json", table.to_json(orient="records"), "mmg_ego4d.json"),
    )
    table.to_parquet(parquet)
    for other in (MmgEgo4d(tmp_path / "csv", parquet), MmgEgo4d(listed), MmgEgo4d(tmp_path, listed)):
        pd.testing.assert_frame_equal(other.segments.drop(columns="stop_s"), csv.segments.drop(columns="stop_s"))
        assert other.tasks == csv.tasks


def test_numbers_for_classes_are_names_in_order_of_value(tmp_path: Path) -> None:
    rows = [
        f"{VIDEO},{i},{i + 1},{label},{'novel' if label > 10 else 'base'}" for i, label in enumerate((10, 9, 12, 2, 11))
    ]
    dataset = MmgEgo4d(write(tmp_path, "video,start,end,label,split\n" + "\n".join(rows)))
    assert dataset.tasks["action"] == ["2", "9", "10", "11", "12"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("z,../../x,0,1,run,base", "video '../../x' is no uid"),
        (f"z,{STEREO},0,1,run,base", f"video {STEREO} is stereo"),
        (f"z,{VIDEO},zero,1,run,base", "start 'zero' is no number of seconds"),
        (f"z,{VIDEO},0,,run,base", "end '' is no number of seconds"),
        (f"z,{VIDEO},nan,1,run,base", "start 'nan' is no number of seconds"),
        (f"z,{VIDEO},2,1,run,base", "2 to 1 s is no span of its video"),
        (f"z,{VIDEO},-1,1,run,base", "-1 to 1 s is no span of its video"),
        (f"z,{VIDEO},100,101,run,base", "100 to 101 s is no span of its video"),
        (f"z,{VIDEO},0,1,,base", "it has no label, and only clips in split train or unlabelled may lack one"),
        (f"z,{VIDEO},0,1,,test", "it has no label, and only clips in split train or unlabelled may lack one"),
        (f"z,{VIDEO},0,1,run,unlabelled", "split 'unlabelled': expected base or novel"),
        (f"z,{VIDEO},0,1,NaN,base", "it has no label, but 'NaN'"),
        (f'z,{VIDEO},"1,5",3,run,base', "start '1,5' is no number of seconds such as 12.5, nor HH:MM:SS.ss"),
        (f"z,{VIDEO},01:30,3,run,base", "start '01:30' is no number of seconds"),
        (f"z,{VIDEO},0,1,run,train", "split 'train': expected base or novel, and train, validation or test"),
        (f"z,{VIDEO},0,1,run,both", "split 'both': expected base or novel"),
        (f"z,{VIDEO},0,1,run,base_novel", "split 'base_novel': expected base or novel"),
        (f"z,{VIDEO},0,1,run,base_train_test", "expected base or novel, and train, validation or test"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_and_counted(row: str, reason: str, tmp_path: Path) -> None:
    dataset = MmgEgo4d(write(tmp_path, LIST + "\n" + row + "\n"))
    assert len(dataset.segments) == 5
    (problem,) = dataset.problems
    assert problem.startswith("mmg_ego4d.csv line 8 (z): ")
    assert reason in problem
    assert dataset.lost_rows == (0 if "stereo" in reason else 1), "stereo videos are left out on purpose"


def test_what_the_columns_are_read_as_is_said_and_two_for_one_meaning_are_refused(tmp_path: Path) -> None:
    header, row = "clip_id,video_uid,start_time,end,class,split,Scene", f"a,{VIDEO},00:01:02.5,70,run,base,kitchen"
    dataset = MmgEgo4d(write(tmp_path, f"{header}\n{row}\n"))
    assert dataset.segments["start_s"].tolist() == [62.5]
    assert dataset.notes == [
        "column 'clip_id' is read as the id",
        "column 'video_uid' is read as the video",
        "column 'start_time' is read as the start",
        "column 'class' is read as the label",
        "columns that are not read: scene",
    ]
    with pytest.raises(ConfigError, match=r"has 2 columns of the end: end, stop; keep one of them"):
        MmgEgo4d(write(tmp_path, f"video,start,end,stop,label,split\n{VIDEO},1,2,3,run,base\n"))


@pytest.mark.parametrize("split", ["train", "unlabelled", "Unlabeled", "pretrain-unlabeled", ""])
def test_unlabelled_clips_are_there_to_align_on(split: str, tmp_path: Path) -> None:
    """They are in train, in no class and in neither set; the classes are those of the labelled clips."""
    dataset = MmgEgo4d(write(tmp_path, LIST + f"z,{VIDEO},30,38,,{split}\n"))
    assert dataset.tasks == {"action": ["cut wood", "wash dishes", "bake", "sew, by hand"]}
    clip = dataset.segments.set_index("id").loc["z"]
    assert (clip["split"], clip["class_set"], clip["action"]) == ("train", "", -1)
    check_segments(dataset.segments, dataset.tasks)


def test_a_list_without_any_label_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="none of its 1 clips has a label"):
        MmgEgo4d(write(tmp_path, f"video,start,end,label,split\n{VIDEO},1,2,,train\n"))


def test_an_id_used_twice_is_named_and_the_first_kept(tmp_path: Path) -> None:
    dataset = MmgEgo4d(write(tmp_path, LIST + f"a,{OTHER},0,1,bake,novel\n"))
    assert dataset.problems == ["clip 'a' is listed twice; the first is used"]
    assert dataset.segments.set_index("id").loc["a", "video"] == VIDEO


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (LIST + f"z,{VIDEO},0,1,bake,base\n", "classes that are both base and novel: bake"),
        (
            "clip,where\n1,2\n",
            r"(?s)5 things.*column of the video: name it video_uid, video_id, video\. It has clip, wh",
        ),
        ("video,start,end,label,split\n", "has no usable row: it is empty"),
        (f"video,start,end,label,split\n{VIDEO},2,1,x,base\n", "has no usable row: mmg_ego4d.csv line 2"),
        ("", "is empty; its first line must name the columns"),
        ('a,"b\n', "line 1 is no CSV: a quote is opened there"),
    ],
)
def test_a_list_of_another_form_is_refused(text: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=reason):
        MmgEgo4d(write(tmp_path, text))


def test_no_list_says_what_it_should_hold(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no mmg_ego4d\.csv, .* in .*clip id, video_uid, start, end, label, split"):
        MmgEgo4d(tmp_path)
