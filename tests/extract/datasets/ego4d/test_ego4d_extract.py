"""Ego4D-AR from files on disk to a store: clips in the place of videos, gaps, media that are not there."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mmcache.extract.planning.extract_config import ExtractConfig
from mmcache.extract.planning.plan import make_plan
from mmcache.extract.run.pipeline import NoProgress, run_extract
from mmcache.store.feature_store import FeatureStore
from mmcache.store.format.layout import Presence

WHOLE, CUT, GONE, CLIP, OTHER = (f"{i}0000000-aaaa-4bbb-8ccc-1234567890ab" for i in range(5))


def record(video: str, frame: int, clip: str, clip_first: int) -> dict[str, object]:
    touched = {"box": [0, 0, 9, 9], "verb_category_id": 0, "noun_category_id": 0, "time_to_contact": 0.5}
    seen = {"video_uid": video, "frame": frame, "clip_uid": clip, "clip_frame": frame - clip_first}
    return {"uid": f"{video}_{frame:07d}", **seen, "objects": [touched]}


@pytest.mark.slow
def test_a_tree_with_every_kind_of_gap_is_extracted(tmp_path: Path, write_video: Callable[..., Path]) -> None:
    place = tmp_path / "v2"
    for folder in ("annotations", "full_scale", "clips", "imu"):
        (place / folder).mkdir(parents=True)
    records = [
        record(WHOLE, 60, OTHER, 0),
        record(WHOLE, 195, OTHER, 0),  # in a gap of the IMU
        record(CUT, 3045, CLIP, 3000),  # only its clip is there: the contact is 2 s into it
        record(GONE, 60, OTHER, 0),
    ]
    categories = {f"{task}_categories": [{"id": 0, "name": task}] for task in ("verb", "noun")}
    for split, listed in (("train", records), ("val", [])):
        (place / f"annotations/fho_sta_{split}.json").write_text(json.dumps({"annotations": listed, **categories}))
    videos = [{"video_uid": uid, "duration_sec": 300.0, "has_imu": uid == WHOLE} for uid in (WHOLE, CUT, GONE)]
    (place / "ego4d.json").write_text(json.dumps({"videos": videos}))
    write_video(place / "full_scale" / f"{WHOLE}.mp4", pictures=300, rate=30)
    write_video(place / "clips" / f"{CLIP}.mp4", pictures=120, rate=30)
    times = [ms for ms in range(0, 10_000, 5) if not 5000 < ms < 8500]
    header = "component_idx,component_timestamp_ms,canonical_timestamp_ms,gyro_x,gyro_y,gyro_z,accl_x,accl_y,accl_z"
    rows = [f"0,{ms},{ms},0.1,0.2,0.3,1,2,{ms / 1000}" for ms in times]
    (place / "imu" / f"{WHOLE}.csv").write_text("\n".join([header, *rows, "1,0,NULL,1,1,1,1,1,1"]))
    config = ExtractConfig(
        dataset="ego4d-ar",
        root=tmp_path,
        store=tmp_path / "s.zarr",
        set={"before_s": 0.5, "after_s": 1.0},
        modalities=["rgb", "imu"],
        encoder={"rgb": "swin3d_demo", "imu": "imu_demo"},
    )
    summary = run_extract(make_plan(config), NoProgress())
    store = FeatureStore.open(tmp_path / "s.zarr")
    by_frame = store.segments["contact_frame"] * 10 + store.segments["video_uid"].str[0].astype(int)
    order = {int(key): row for row, key in enumerate(by_frame)}
    rows_of = [order[key] for key in (750, 2100, 30601, 752)]
    cached, missing = Presence.CACHED, Presence.MISSING
    assert store.present["rgb"][rows_of].tolist() == [cached, cached, cached, missing]
    assert store.present["imu"][rows_of].tolist() == [cached, missing, missing, missing]
    assert (store.failures, summary.problems) == ([], [])
    (note,) = store.notes
    assert "with gaps, not this segment" in note["reason"]
    tokens = store.tokens["rgb"].read(np.array(rows_of[:3]))
    assert not np.array_equal(tokens[0], tokens[1])
    assert np.isfinite(tokens.astype(np.float32)).all()
