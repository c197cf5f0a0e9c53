"""Where media of Ego4D lie, and what ego4d.json says of them; clips stand in for videos at their own time."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmcache.extract.datasets.ego4d.ego4d_ar import Ego4dActionRecognition
from mmcache.extract.datasets.ego4d.ego4d_media import Ego4dMedia, is_uid
from mmcache.extract.media import AudioRequest, NoMedia, VideoRequest, read_media
from mmcache.extract.media.base.source import Source
from mmcache.extract.planning.extract_config import ExtractConfig
from mmcache.extract.planning.plan import make_plan
from mmcache.store.ground.errors import ConfigError

VIDEO, OTHER, CLIP, LATER = (f"{i}0000000-aaaa-4bbb-8ccc-1234567890ab" for i in range(4))


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def metadata(*videos: dict[str, Any]) -> str:
    return json.dumps({"date": "230101", "version": "v2", "videos": videos, "clips": []})


def of_video(uid: str = VIDEO, **more: Any) -> dict[str, Any]:
    sound = {"audio_start_sec": 0.0, "audio_duration_sec": 60.0, "audio_base_denominator": 16000}
    return {
        "video_uid": uid,
        "duration_sec": 60.0,
        "is_stereo": False,
        "has_imu": True,
        "video_metadata": {"fps": 30.0, "num_frames": 1800, **sound, **more.pop("video_metadata", {})},
        **more,
    }


def media_of(root: Path, media: str = "any") -> Ego4dMedia:
    return Ego4dMedia(root, root / "annotations", media, [])


@pytest.mark.parametrize("release", ["v2_1", "v2", "v1", "."])
def test_every_folder_of_every_release_is_looked_in(release: str, tmp_path: Path) -> None:
    place = tmp_path / release
    imu = touch(place / "imu" / f"{VIDEO}.csv")
    clip = touch(place / "clips" / f"{CLIP}.mp4")
    found = media_of(tmp_path)
    name = found.add_clip(VIDEO, CLIP, 450)
    assert found.source("rgb", name) == Source("video", (clip,), rate=30.0, first=-450)
    assert found.source("audio", name) == Source("audio", (clip,), rate=30.0, first=-450)
    assert found.source("imu", name) == Source("ego4d_imu", (imu,)), "IMU is on the clock of the video"
    assert found.source("rgb", VIDEO) is None, "without a clip's name there is nothing to read"
    small = touch(place / "video_540ss" / f"{VIDEO}.mp4")
    whole = touch(place / "full_scale" / f"{VIDEO}.mp4")
    touch(place / "full_scale" / f"{OTHER.upper()}.mp4")
    found = media_of(tmp_path)
    name = found.add_clip(VIDEO, CLIP, 450)
    for video in (name, VIDEO):
        assert found.source("rgb", video) == Source("video", (whole,))
    assert media_of(tmp_path, "video_540ss").source("audio", VIDEO) == Source("audio", (small,))
    only_clips = media_of(tmp_path, "clips")
    assert only_clips.source("rgb", only_clips.add_clip(VIDEO, CLIP, 0)) == Source("video", (clip,), rate=30.0, first=0)
    for modality in ("rgb", "audio", "imu"):
        assert found.source(modality, OTHER) is None


def test_the_newest_release_goes_first(tmp_path: Path) -> None:
    for release in ("v1", "v2", "v2_1"):
        newest = touch(tmp_path / release / "full_scale" / f"{VIDEO}.mp4")
        assert media_of(tmp_path).source("rgb", VIDEO) == Source("video", (newest,))


@pytest.mark.parametrize("lost", ["audio_base_denominator", "audio_duration_sec"])
def test_sound_that_was_removed_is_missing_though_the_file_has_a_stream(lost: str, tmp_path: Path) -> None:
    touch(tmp_path / "v2/full_scale" / f"{VIDEO}.mp4")
    touch(tmp_path / "v2/full_scale" / f"{OTHER}.mp4")
    (tmp_path / "ego4d.json").write_text(metadata(of_video(video_metadata={lost: None}), of_video(OTHER)))
    found = media_of(tmp_path)
    assert found.source("audio", VIDEO) is None
    assert found.source("rgb", VIDEO) is not None
    assert found.source("audio", OTHER) is not None


def test_imu_is_read_where_the_video_has_it_by_ego4d_json(tmp_path: Path) -> None:
    for uid in (VIDEO, OTHER, LATER):
        touch(tmp_path / "v2/imu" / f"{uid}.csv")
    (tmp_path / "v2/ego4d.json").write_text(metadata(of_video(has_imu=False), of_video(OTHER)))
    found = media_of(tmp_path)
    assert found.source("imu", VIDEO) is None
    assert found.source("imu", OTHER) is not None
    assert found.source("imu", LATER) is not None, "of which nothing is said"


@pytest.mark.parametrize("place", [".", "v1", "v2", "annotations"])
def test_ego4d_json_is_found_and_what_is_odd_in_it_is_named(place: str, tmp_path: Path) -> None:
    (tmp_path / place).mkdir(exist_ok=True)
    unsaid = dict.fromkeys(("duration_sec", "video_metadata", "is_stereo", "has_imu"))
    odd = [{**of_video(), **unsaid}, of_video("../x"), 7]
    (tmp_path / place / "ego4d.json").write_text(metadata(of_video(OTHER, is_stereo=True), *odd))  # type: ignore[arg-type]
    problems: list[str] = []
    found = Ego4dMedia(tmp_path, tmp_path / "annotations", "any", problems)
    assert problems == ["ego4d.json video 2: it has no video_uid", "ego4d.json video 3: it has no video_uid"]
    assert found.facts(OTHER).is_stereo
    assert found.facts(VIDEO).duration_s is None
    assert found.facts(VIDEO).has_audio
    assert not found.facts(VIDEO).is_stereo


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"videos": {}}'])
def test_what_is_no_ego4d_json_says_so(content: str, tmp_path: Path) -> None:
    (tmp_path / "ego4d.json").write_text(content)
    with pytest.raises(ConfigError, match=r"ego4d\.json (is not JSON|lacks the lists videos)"):
        media_of(tmp_path)


def test_a_clip_with_two_beginnings_is_named_once(tmp_path: Path) -> None:
    problems: list[str] = []
    found = Ego4dMedia(tmp_path, tmp_path, "any", problems)
    problems.clear()
    touch(tmp_path / "clips" / f"{CLIP}.mp4")
    names = {found.add_clip(VIDEO, CLIP, first) for first in (900, 900, 905, 910)}
    assert problems == [f"clip {CLIP} is said to begin at frame 900 and at 905 of its video; the first is used"]
    (name,) = names
    source = found.source("rgb", name)
    assert source is not None
    assert source.first == -900


def test_uids_are_the_only_names_of_files() -> None:
    assert is_uid(VIDEO)
    for other in ("", "../x", VIDEO.upper(), VIDEO + "\n", f"{VIDEO}/x", VIDEO[:-1], None, 7):
        assert not is_uid(other)


def test_a_clip_and_its_video_show_the_same_pictures(
    tmp_path: Path, write_video: Callable[..., Path], numbers_of: Callable[[Any], list[int]]
) -> None:
    """The contact is at frame 150 of the video: frame 60 of a clip that begins at frame 90."""
    sta = {
        "annotations": [
            {
                "uid": f"{VIDEO}_0000135",
                "video_uid": VIDEO,
                "frame": 135,
                "clip_uid": CLIP,
                "clip_frame": 45,
                "objects": [{"verb_category_id": 0, "noun_category_id": 0, "time_to_contact": 0.5}],
            }
        ],
        "verb_categories": [{"id": 0, "name": "take"}],
        "noun_categories": [{"id": 0, "name": "cup"}],
    }
    (tmp_path / "annotations").mkdir()
    for split, content in (("train", sta), ("val", {**sta, "annotations": []})):
        (tmp_path / f"annotations/fho_sta_{split}.json").write_text(json.dumps(content))
    (tmp_path / "ego4d.json").write_text(metadata(of_video()))
    (tmp_path / "clips").mkdir()
    (tmp_path / "full_scale").mkdir()
    write_video(tmp_path / "full_scale" / f"{VIDEO}.mp4", pictures=300, rate=30, codec="libvpx-vp9")
    write_video(tmp_path / "clips" / f"{CLIP}.mp4", pictures=120, rate=30, codec="libvpx-vp9")
    seen = {}
    for media in ("full_scale", "clips"):
        dataset = Ego4dActionRecognition(tmp_path, before_s=0.5, after_s=1.0, media=media)
        (segment,) = dataset.segments.to_dict("records")
        source = dataset.source("rgb", segment["video"])
        assert source is not None
        reading = read_media(source, segment["start_s"], segment["stop_s"], VideoRequest(45, 48))
        seen[media] = np.array(numbers_of(reading.array))
        silent = dataset.source("audio", segment["video"])
        assert silent is not None, "ego4d.json tells of audio; this copy of the file lacks it"
        with pytest.raises(NoMedia, match="has no audio stream"):
            read_media(silent, segment["start_s"], segment["stop_s"], AudioRequest(16000, 10.0))
    assert seen["full_scale"].tolist() == list(range(135, 180))
    np.testing.assert_array_equal(seen["clips"], seen["full_scale"] - 90)


def test_a_plan_takes_its_settings_and_finds_what_part_of_the_data_is_there(tmp_path: Path) -> None:
    """Of three segments one has its clip alone, one its video with IMU, and one nothing."""
    records = [
        {
            "video_id": uid,
            "frame": 300,
            "clip_uid": clip,
            "clip_frame": 100,
            "objects": [{"verb_category_id": 0, "noun_category_id": 0, "time_to_contact": 1.0}],
        }
        for uid, clip in ((VIDEO, CLIP), (OTHER, LATER), (LATER, VIDEO))
    ]
    categories = {f"{task}_categories": [{"id": 0, "name": task}] for task in ("verb", "noun")}
    for split, listed in (("train", records[:2]), ("val", records[2:])):
        (tmp_path / f"fho_sta_{split}.json").write_text(json.dumps({"annotations": listed, **categories}))
    (tmp_path / "ego4d.json").write_text(metadata(of_video(), of_video(OTHER), of_video(LATER)))
    touch(tmp_path / "v2/clips" / f"{CLIP}.mp4")
    touch(tmp_path / "v2/full_scale" / f"{OTHER}.mp4")
    touch(tmp_path / "v2/imu" / f"{OTHER}.csv")
    config = ExtractConfig(
        dataset="ego4d-ar",
        root=tmp_path,
        store=tmp_path / "s.zarr",
        set={"before_s": 2, "after_s": 0.5, "media": "any"},
        encoder={"rgb": "swin3d_demo", "audio": "ast_demo", "imu": "imu_demo"},
    )
    plan = make_plan(config)
    assert plan.segments["start_s"].tolist() == [9.0] * 3
    assert plan.segments["stop_s"].tolist() == [11.5] * 3
    found = {part.modality: sorted(video.partition("/")[0] for video in part.sources) for part in plan.modalities}
    assert found == {"rgb": [VIDEO, OTHER], "audio": [VIDEO, OTHER], "imu": [OTHER]}
    with pytest.raises(ConfigError, match=r"--set media=clip: allowed are any, full_scale, video_540ss, clips"):
        make_plan(dataclasses.replace(config, set={"media": "clip"}))
