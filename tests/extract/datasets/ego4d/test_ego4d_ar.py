"""Ego4D-AR from STA files written by hand as the official ones are described, with what is odd in them."""

import json
from pathlib import Path
from typing import Any

import pytest

from mmcache.extract.datasets import DATASETS
from mmcache.extract.datasets.ego4d.ego4d_ar import Ego4dActionRecognition
from mmcache.store.ground.errors import ConfigError
from mmcache.store.segments.segment_table import check_segments

VIDEOS = [f"0000000{i}-aaaa-4bbb-8ccc-1234567890ab" for i in range(10)]
CLIPS = [f"c000000{i}-aaaa-4bbb-8ccc-1234567890ab" for i in range(10)]
VERBS = ["take", "put", "wash_(wash,_rinse)"]
NOUNS = ["bowl", "cup_(cup,_mug,_tumbler)", "knife", "tap"]
Json = dict[str, Any]


def touched(to_contact: Any = 0.5, verb: Any = 0, noun: Any = 1) -> Json:
    return {
        "box": [-31.6, 20.5, 1920.05, 700.25],
        "verb_category_id": verb,
        "noun_category_id": noun,
        "time_to_contact": to_contact,
    }


def record(frame: int, *objects: Json, video: str = VIDEOS[0], clip: str | None = CLIPS[0], first: int = 900) -> Json:
    """One frame, half a second of which may be between it and the next one of the same contact."""
    return {
        "uid": f"{video}_{frame:07d}",
        "video_id": video,
        "frame": frame,
        "clip_id": 7,
        "clip_uid": clip,
        "clip_frame": frame - first,
        "objects": list(objects) or [touched()],
    }


def sta(records: list[Json], fps: dict[str, float] | None = None) -> Json:
    rates = dict.fromkeys(VIDEOS, 30.0) | (fps or {})
    return {
        "info": {
            "description": "Short-term object-interaction anticipation",
            "version": "2.0",
            "include_annotations": True,
            "video_metadata": {v: {"frame_width": 1920, "frame_height": 1440, "fps": r} for v, r in rates.items()},
        },
        "annotations": records,
        # Listed in any order: the id is the class.
        "noun_categories": [{"id": i, "name": name} for i, name in reversed(list(enumerate(NOUNS)))],
        "verb_categories": [{"id": i, "name": name} for i, name in enumerate(VERBS)],
    }


def facts(video: str, duration_s: float = 600.0, **more: Any) -> Json:
    return {"video_uid": video, "duration_sec": duration_s, "is_stereo": False, "has_imu": True, **more}


def write(
    root: Path,
    train: list[Json],
    val: list[Json] | None = None,
    videos: list[Json] | None = None,
    folder: str = "v2/annotations",
    fps: dict[str, float] | None = None,
) -> Path:
    """A root as the downloader leaves it; ego4d.json names every video unless others are given."""
    place = root / folder
    place.mkdir(parents=True, exist_ok=True)
    (place / "fho_sta_train.json").write_text(json.dumps(sta(train, fps)))
    (place / "fho_sta_val.json").write_text(json.dumps(sta(val or [])))
    listed = [facts(video) for video in VIDEOS] if videos is None else videos
    (root / "ego4d.json").write_text(json.dumps({"date": "", "version": "v2", "videos": listed, "clips": []}))
    return root


def test_contacts_become_segments_with_names_from_the_categories(tmp_path: Path) -> None:
    near_start = record(100, touched(1 / 30, 0, 1), touched(0.9, 1, 2), clip=CLIPS[2], first=0)
    train = [record(1200, touched(1.5, 2, 3)), near_start]
    dataset = Ego4dActionRecognition(write(tmp_path, train, [record(3000, video=VIDEOS[1], clip=CLIPS[1])]))
    table = dataset.segments
    assert dataset.problems == []
    assert dataset.tasks == {"verb": VERBS, "noun": NOUNS}
    found = table.sort_values("contact_frame")
    assert found["split"].tolist() == ["train"] * 3 + ["val"]
    assert found["contact_frame"].tolist() == [101, 127, 1245, 3015]
    assert found["start_s"].tolist() == pytest.approx([101 / 30 - 1, 127 / 30 - 1, 40.5, 99.5])
    assert found["stop_s"].tolist() == pytest.approx([101 / 30 + 3, 127 / 30 + 3, 44.5, 103.5])
    assert found["verb"].tolist() == [0, 1, 2, 0]
    assert found["noun"].tolist() == [1, 2, 3, 1]
    assert found["video_uid"].tolist() == [VIDEOS[0]] * 3 + [VIDEOS[1]]
    assert found["id"].tolist()[2] == f"{VIDEOS[0]}_0001245_2_3"
    check_segments(table, dataset.tasks)
    assert dataset.eval_split == "val"
    assert "ego4d-ar" in DATASETS


def test_records_of_one_contact_are_one_segment_whatever_their_order(tmp_path: Path) -> None:
    """The same touch is announced every half second; rounding of its time must not make two of it."""
    records = [record(frame, touched((1045 - frame) / 30 + error)) for frame, error in ((1000, 1e-4), (1015, -2e-4))]
    records += [record(1030, touched(0.5)), record(1015, touched(1.0, 1), touched(1.0, 0, 2), touched(31 / 30))]
    tables = []
    for i, order in enumerate((records, records[::-1])):
        dataset = Ego4dActionRecognition(write(tmp_path / str(i), order))
        assert dataset.problems == []
        tables.append(dataset.segments)
    assert tables[0].equals(tables[1])
    keys = set(zip(tables[0]["contact_frame"], tables[0]["verb"], tables[0]["noun"], strict=True))
    assert keys == {(1045, 0, 1), (1045, 1, 1), (1045, 0, 2), (1046, 0, 1)}
    assert len(tables[0]) == 4


def test_the_window_is_set_by_the_user_and_cut_at_the_video(tmp_path: Path) -> None:
    train = [record(20, touched(10 / 30), clip=CLIPS[1], first=0), record(17970, touched(1.0))]
    root = write(tmp_path, train, videos=[facts(VIDEOS[0], 600.4)])
    usual = Ego4dActionRecognition(root).segments.sort_values("contact_frame")
    assert usual["start_s"].tolist() == pytest.approx([0.0, 599.0])
    assert usual["stop_s"].tolist() == pytest.approx([4.0, 600.4])
    wide = Ego4dActionRecognition(root, before_s=2, after_s=0.25).segments.sort_values("contact_frame")
    assert wide["start_s"].tolist() == pytest.approx([0.0, 598.0])
    assert wide["stop_s"].tolist() == pytest.approx([1.25, 600.25])
    for before_s, after_s in ((-1.0, 2.0), (1.0, 0.0), (float("nan"), 1.0), (1.0, float("inf"))):
        with pytest.raises(ConfigError, match="before_s is at least 0, after_s more than 0"):
            Ego4dActionRecognition(root, before_s=before_s, after_s=after_s)


def test_the_video_may_be_called_video_uid_as_the_official_code_has_it(tmp_path: Path) -> None:
    renamed = record(1000)
    renamed["video_uid"] = renamed.pop("video_id")
    both = {**record(2000), "video_uid": VIDEOS[0]}
    assert Ego4dActionRecognition(write(tmp_path, [renamed, both])).segments["video_uid"].tolist() == [VIDEOS[0]] * 2


def test_stereo_videos_are_left_out_and_named(tmp_path: Path) -> None:
    train = [record(1000), record(2000, video=VIDEOS[1]), record(4000, video=VIDEOS[1]), record(1000, video=VIDEOS[2])]
    videos = [facts(VIDEOS[0]), facts(VIDEOS[1], is_stereo=True)]  # of the third nothing is known
    dataset = Ego4dActionRecognition(write(tmp_path, train, videos=videos))
    assert sorted(dataset.segments["video_uid"]) == [VIDEOS[0], VIDEOS[2]]
    assert dataset.problems == [f"video {VIDEOS[1]} is stereo, two frames side by side: its 2 segments are left out"]
    (tmp_path / "ego4d.json").unlink()
    without = Ego4dActionRecognition(tmp_path)
    assert len(without.segments) == 4
    assert len(without.problems) == 1
    assert "no ego4d.json" in without.problems[0]
    assert "stereo videos are not left out" in without.problems[0]


def test_a_contact_of_both_splits_is_used_for_training_alone(tmp_path: Path) -> None:
    dataset = Ego4dActionRecognition(write(tmp_path, [record(1000)], [record(1000), record(2000)]))
    assert dataset.segments["split"].tolist() == ["train", "val"]
    (problem,) = dataset.problems
    assert problem.startswith("fho_sta_val.json: contact ")
    assert problem.endswith("_0001015_0_1 is in train too, and is used there")


def broken(**changes: Any) -> Json:
    return {**record(5000), **changes}


BROKEN: dict[str, tuple[Any, str]] = {
    "no object": (17, "it is no object"),
    "no video": (broken(video_id=None), "it has neither video_uid nor video_id"),
    "two videos": (broken(video_uid=VIDEOS[1]), f"its video_uid is '{VIDEOS[1]}', its video_id '{VIDEOS[0]}'"),
    "a path for a video": (broken(video_id="../../etc/passwd"), "video '../../etc/passwd' is no uid"),
    "a list for a video": (broken(video_id=[VIDEOS[0]]), "is no uid"),
    "a path for a clip": (broken(clip_uid="../x"), "clip_uid '../x' is no uid"),
    "frame in words": (broken(frame="many"), "frame 'many' is no number of a frame"),
    "frame below 0": (broken(frame=-3), "frame -3 is no number of a frame"),
    "half a frame": (broken(frame=1.5), "frame 1.5 is no number of a frame"),
    "no clip frame": (broken(clip_frame=None), "clip_frame None is no number of a frame"),
    "a clip from before": (broken(clip_frame=6000), "its clip would begin 1000 frames before its video"),
    "unannotated": ({k: v for k, v in record(5000).items() if k != "objects"}, "it lists no objects"),
    "nothing touched": (broken(objects=[]), "it lists no objects"),
    "an odd object": (broken(objects=["cup"]), "object 0: it is no object"),
    "verb too large": (broken(objects=[touched(verb=3)]), "object 0: verb_category_id 3 is not one of 0..2"),
    "no noun": (broken(objects=[touched(noun=None)]), "object 0: noun_category_id None is not one of 0..3"),
    "true for a noun": (broken(objects=[touched(noun=True)]), "noun_category_id True is not one of"),
    "no time": (broken(objects=[touched(None)]), "object 0: time_to_contact None is no number of seconds"),
    "after the contact": (
        broken(objects=[touched(-0.5)]),
        "time_to_contact -0.5 is no number of seconds from 0 to 60",
    ),
    "time in frames": (broken(objects=[touched(900)]), "time_to_contact 900 is no number of seconds from 0 to 60"),
    "NaN": (broken(objects=[touched(float("nan"))]), "time_to_contact nan is no number of seconds"),
    "past the end": (broken(frame=20000, clip_frame=10), "at 667.17 s, but its video ends at 600.00 s"),
    "another clock": (broken(video_id=VIDEOS[5]), "its video has 24 frames a second, not 30"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_record_is_told_and_costs_no_other(kind: str, tmp_path: Path) -> None:
    item, reason = BROKEN[kind]
    train = [record(1000), item, record(2000, touched(), touched(0.7))]
    dataset = Ego4dActionRecognition(write(tmp_path, train, fps={VIDEOS[5]: 24.0}))
    assert sorted(dataset.segments["contact_frame"]) == [1015, 2015, 2021]
    (problem,) = dataset.problems
    assert reason in problem
    if kind != "past the end":
        assert problem.startswith("fho_sta_train.json annotation 1")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda c: c.pop("verb_categories"), r"fho_sta_val\.json lacks the lists verb_categories; it has info, annot"),
        (lambda c: c.update(annotations={"0": 1}), r"fho_sta_val\.json lacks the lists annotations"),
        (lambda c: c["verb_categories"].pop(0), r"verb_categories must have ids 0, 1, 2, \.\.\. without gaps"),
        (lambda c: c["noun_categories"].append({"id": 1, "name": "x"}), "noun_categories must have ids"),
        (lambda c: c["noun_categories"].append({"id": [], "name": "x"}), "noun_categories must have ids"),
        (lambda c: c["noun_categories"].append({"id": 4, "name": "x"}), "differ from those of fho_sta_train.json"),
    ],
)
def test_files_of_another_form_or_of_two_releases_are_refused(damage: Any, reason: str, tmp_path: Path) -> None:
    root = write(tmp_path, [record(1000)], [record(1000, video=VIDEOS[1])])
    path = root / "v2/annotations/fho_sta_val.json"
    content = json.loads(path.read_text())
    damage(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=reason):
        Ego4dActionRecognition(root)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b'{"annotations": 1}', b"[" * 100000])
def test_what_is_no_sta_file_says_so(content: bytes, tmp_path: Path) -> None:
    root = write(tmp_path, [record(1000)])
    (root / "v2/annotations/fho_sta_train.json").write_bytes(content)
    with pytest.raises(ConfigError, match=r"fho_sta_train\.json (is not JSON|lacks the lists|line 1 is not UTF-8)"):
        Ego4dActionRecognition(root)


@pytest.mark.parametrize("folder", [".", "annotations", "v1/annotations", "v2/annotations", "v2_1/annotations"])
def test_annotations_are_found_where_people_have_them(folder: str, tmp_path: Path) -> None:
    assert len(Ego4dActionRecognition(write(tmp_path, [record(1000)], folder=folder)).segments) == 1
    assert len(Ego4dActionRecognition(tmp_path, tmp_path / folder).segments) == 1


def test_nothing_there_says_what_to_download(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no Ego4D annotations in .*https://ego4d-data\.org.*--annotations DIR"):
        Ego4dActionRecognition(tmp_path)
    with pytest.raises(ConfigError, match=r"no folder .*gone\. Put Ego4D there.*the ego4d command line"):
        Ego4dActionRecognition(tmp_path / "gone")
    with pytest.raises(ConfigError, match="STA gives no segment: its files list nothing"):
        Ego4dActionRecognition(write(tmp_path, []))
