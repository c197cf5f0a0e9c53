"""What an extract would do, decided without decoding anything."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mmcache.extract.planning.extract_config import ExtractConfig
from mmcache.extract.planning.plan import ModalityPlan, Plan, make_plan
from mmcache.store.format.layout import Presence
from mmcache.store.ground.errors import ConfigError, StoreError

ENCODERS = {"rgb": "swin3d_demo", "audio": "ast_demo", "imu": "imu_demo"}


def plan_of(root: Path, store: Path, **options: Any) -> Plan:
    return make_plan(ExtractConfig("epic", root, store=store, **{"encoder": ENCODERS, "weights": "random", **options}))


def part_of(plan: Plan, modality: str) -> ModalityPlan:
    return next(part for part in plan.modalities if part.modality == modality)


def files_of(folder: Path) -> Iterator[tuple[str, int]]:
    for path in sorted(folder.rglob("*")):
        yield str(path.relative_to(folder)), path.stat().st_mtime_ns


def test_a_fresh_plan_settles_every_segment_and_encodes_those_on_disk(epic_root: Path, tmp_path: Path) -> None:
    plan = plan_of(epic_root, tmp_path / "s.zarr")
    segments = plan.segments
    assert [part.modality for part in plan.modalities] == ["rgb", "audio", "imu"]
    assert not plan.nothing_to_do
    assert plan.meta.splits == {"test": 2, "train": 36, "validation": 14}
    without = {"rgb": {"P03_101"}, "audio": {"P03_101"}, "imu": {"P02_01", "P06_01"}}
    shapes = {"rgb": (32, 128), "audio": (146, 96), "imu": (32, 64)}
    for part in plan.modalities:
        np.testing.assert_array_equal(part.to_do, np.arange(52))
        there = ~segments["video"].isin(without[part.modality]).to_numpy()
        np.testing.assert_array_equal(part.on_disk, there)
        np.testing.assert_array_equal(part.to_encode, np.flatnonzero(there))
        assert (part.tokens, part.info.width) == shapes[part.modality]
        assert part.bytes_to_write == there.sum() * 2 * np.prod(shapes[part.modality])
        assert (part.status == Presence.TO_DO).all()
    assert not (tmp_path / "s.zarr").exists()


@pytest.mark.parametrize(("k", "tokens"), [(8, 8), (32, 32), (100, 32)])
@pytest.mark.parametrize(("dtype", "size"), [("float16", 2), ("float32", 4)])
def test_bytes_follow_k_and_dtype(k: int, tokens: int, dtype: str, size: int, epic_root: Path, tmp_path: Path) -> None:
    part = part_of(plan_of(epic_root, tmp_path / "s", k=k, dtype=dtype, modalities=["imu"]), "imu")
    assert (part.tokens, part.row_bytes) == (tokens, tokens * 64 * size)


def test_limit_takes_the_first_of_each_chosen_split(epic_root: Path, tmp_path: Path) -> None:
    plan = plan_of(epic_root, tmp_path / "s", splits=["validation", "train"], limit=5)
    chosen = plan.segments.iloc[plan.selected]
    assert chosen["split"].value_counts().to_dict() == {"train": 5, "validation": 5}
    for split in ("train", "validation"):
        of_split = plan.segments.index[plan.segments["split"] == split]
        assert set(of_split[:5]) <= set(plan.selected)
    assert (np.diff(plan.selected) > 0).all()
    whole = plan_of(epic_root, tmp_path / "s", limit=1000)
    np.testing.assert_array_equal(whole.selected, np.arange(52))
    twice = plan_of(epic_root, tmp_path / "s", splits=["test", "test"])
    assert len(twice.selected) == 2


def test_media_that_are_nowhere_are_left_out_unless_asked_for(epic_copy: Path, tmp_path: Path) -> None:
    for path in epic_copy.rglob("*-accl.csv"):
        path.unlink()
    for path in epic_copy.rglob("*-gyro.csv"):
        path.unlink()
    plan = plan_of(epic_copy, tmp_path / "s")
    assert [part.modality for part in plan.modalities] == ["rgb", "audio"]
    with pytest.raises(ConfigError, match=r"no media of imu found for 8 videos of epic\. Media are looked for as"):
        plan_of(epic_copy, tmp_path / "s", modalities=["rgb", "imu"])
    for path in epic_copy.rglob("*.MP4"):
        path.unlink()
    with pytest.raises(ConfigError, match=r"no media of any modality found.*epic-kitchens-download-scripts"):
        plan_of(epic_copy, tmp_path / "s")


def test_wrong_names_are_answered_before_the_data_are_looked_at(epic_root: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown split 'validaton'\. Did you mean 'validation'\?"):
        plan_of(epic_root, tmp_path / "s", splits=["validaton"])
    with pytest.raises(ConfigError, match=r"unknown modality of epic 'sound'"):
        plan_of(tmp_path / "nowhere", tmp_path / "s", modalities=["sound"])
    with pytest.raises(ConfigError, match="2 things to put right"):
        plan_of(epic_root, tmp_path / "s", splits=["vla", "trian"])


def test_the_plan_of_a_finished_store_is_empty_and_touches_nothing(epic_root: Path, epic_store: Path) -> None:
    before = list(files_of(epic_store))
    plan = plan_of(epic_root, epic_store)
    assert plan.nothing_to_do
    assert list(files_of(epic_store)) == before
    part = part_of(plan, "audio")
    silent = plan.segments["video"].isin(["P02_102", "P03_101"]).to_numpy()
    np.testing.assert_array_equal(part.status, np.where(silent, Presence.MISSING, Presence.CACHED))
    # What was found to hold no sound is asked again only when told to.
    again = part_of(plan_of(epic_root, epic_store, retry_failed=True), "audio")
    assert plan.segments["video"].iloc[again.to_do].unique().tolist() == ["P02_102"]


def test_another_encoder_of_a_modality_begins_afresh(epic_root: Path, epic_store: Path) -> None:
    plan = plan_of(epic_root, epic_store, encoder={**ENCODERS, "imu": "imu_transformer"})
    assert len(part_of(plan, "imu").to_do) == 52
    assert len(part_of(plan, "rgb").to_do) == 0


def test_media_that_arrive_are_to_be_done_and_media_that_go_are_not_undone(
    epic_copy: Path, epic_store: Path, epic_root: Path
) -> None:
    film = epic_copy / "P03" / "videos" / "P03_101.MP4"
    film.parent.mkdir(exist_ok=True)
    os.link(epic_root / "P05" / "videos" / "P05_101.MP4", film)
    plan = plan_of(epic_copy, epic_store)
    for modality in ("rgb", "audio"):
        part = part_of(plan, modality)
        assert plan.segments["video"].iloc[part.to_encode].tolist() == ["P03_101"] * 6
        np.testing.assert_array_equal(part.to_encode, part.to_do)
    film.unlink()
    (epic_copy / "P01" / "videos" / "P01_101.MP4").unlink()
    assert plan_of(epic_copy, epic_store).nothing_to_do


def test_other_annotations_do_not_go_into_a_store(epic_copy: Path, epic_store: Path) -> None:
    folder = epic_copy / "epic-kitchens-100-annotations"
    table = pd.read_csv(folder / "EPIC_100_train.csv", dtype=str)
    for changed, reason in (
        (table.iloc[1:], r"splits differs: the store has .*36.*the annotations give .*35"),
        (table.assign(verb_class=["1", *table["verb_class"][1:]]).assign(noun_class="0"), "some segments differ"),
    ):
        changed.to_csv(folder / "EPIC_100_train.csv", index=False)
        with pytest.raises(StoreError, match=rf"made from other annotations \({reason}.*--store PATH") as caught:
            plan_of(epic_copy, epic_store)
        assert re.search(r"remove this one", str(caught.value))
    table.to_csv(folder / "EPIC_100_train.csv", index=False)
    classes = folder / "EPIC_100_verb_classes.csv"
    classes.write_bytes(classes.read_bytes() + b"\r\n6,fold,\"['fold']\",demo")
    with pytest.raises(StoreError, match=r"made from other annotations \(tasks differs\)"):
        plan_of(epic_copy, epic_store)


@pytest.mark.parametrize(
    ("name", "holds", "said"),
    [
        ("empty", [], r"empty is an empty folder, and is no store.*--store \S*/empty/mine\.zarr makes one inside it"),
        ("photos", ["b.jpg", "a.jpg"], r"photos holds other files, such as a\.jpg, and is no store.*photos/mine\.zarr"),
        ("lost", ["segments.parquet"], r"lost is a store that has lost its zarr\.json: `mmcache store verify --repair"),
        ("file", None, r"file is a file\. Give --store the path of a new folder, such as \S*/mine\.zarr"),
    ],
)
def test_what_is_no_store_is_described_and_not_written_to(
    name: str, holds: list[str] | None, said: str, epic_root: Path, tmp_path: Path
) -> None:
    place = tmp_path / name
    if holds is None:
        place.write_bytes(b"")
    else:
        place.mkdir()
        for each in holds:
            (place / each).touch()
    with pytest.raises(StoreError, match=said):
        plan_of(epic_root, place)
    assert holds is None or sorted(path.name for path in place.iterdir()) == sorted(holds)


def table(folder: Path, *rows: str, header: str = "rgb,split,label") -> ExtractConfig:
    """A table beside one file that is there, a.mp4."""
    (folder / "a.mp4").touch()
    (folder / "t.csv").write_text("\n".join([header, *rows]) + "\n")
    return ExtractConfig("manifest", folder / "t.csv", store=folder / "s.zarr", encoder=ENCODERS, weights="random")


def test_media_that_a_table_names_are_to_be_encoded_though_they_are_not_there(tmp_path: Path) -> None:
    plan = make_plan(table(tmp_path, "a.mp4,train,x", "gone.mp4,train,y", ",test,x", "v\\b.mp4,train,y"))
    part = part_of(plan, "rgb")
    assert part.to_encode.tolist() == [0, 1, 3], "an empty cell is a missing modality"
    assert part.absent == {
        "gone": f"{tmp_path / 'gone.mp4'} is not there",
        "v\\b": f"{tmp_path}/v\\b.mp4 is not there; use / in paths",
    }


@pytest.mark.parametrize("modality", ["rgb", "flow", "audio", "imu", "depth", "ir"])
def test_a_modality_none_of_whose_files_is_there_is_refused_before_anything_starts(
    modality: str, tmp_path: Path
) -> None:
    header = f"rgb,{modality},label" if modality != "rgb" else "depth,rgb,label"
    config = table(tmp_path, "a.mp4,x/y/b,x", "a.mp4,c,y", header=header)
    inside = "/u" if modality == "flow" else ""
    with pytest.raises(ConfigError) as caught:
        make_plan(config)
    reason = (
        f"none of the 2 files named for {modality} exists: {tmp_path}/x/y/b{inside} is not there (the last existing "
    )
    assert reason in str(caught.value)
    assert f"folder on that path: {tmp_path}). {tmp_path}/t.csv names media in column" in str(caught.value)
    assert "--modalities leaves a modality out" in str(caught.value)
    config.modalities = ["depth" if modality == "rgb" else "rgb"]
    assert [part.modality for part in make_plan(config).modalities] == config.modalities


def test_sound_that_would_be_in_films_that_are_not_there_is_refused_with_them(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none of the 1 files named for rgb and audio exists: .*gone\.mp4"):
        make_plan(table(tmp_path, "gone.mp4,train,x"))


def test_rows_that_cannot_be_used_count_as_failures_known_beforehand(tmp_path: Path) -> None:
    rows = [f"{i},{i + 1},a.mp4,x" for i in range(19)] + ['"0,5",1,a.mp4,x']
    config = table(tmp_path, *rows, header="start,stop,rgb,label")
    with pytest.raises(
        ConfigError, match=r"(?s)1 of 20 rows cannot be used, more than .*\(1\.0%\).*line 21 \(line21\)"
    ):
        make_plan(config)
    config.max_failures = 0.05
    assert len(make_plan(config).segments) == 19


@pytest.mark.parametrize(
    ("given", "asked", "found"),
    [
        ("val", "val", "validation"),
        ("Valid", "validation", "validation"),
        ("dev", "Val", "validation"),
        ("testing", "test", "test"),
        ("holdout", "holdout", "holdout"),
    ],
)
def test_a_split_is_asked_for_by_any_usual_name(given: str, asked: str, found: str, tmp_path: Path) -> None:
    config = table(tmp_path, "a.mp4,train,x", f"a.mp4, {given} ,y")
    config.splits = [asked]
    plan = make_plan(config)
    assert plan.segments["split"].iloc[plan.selected].tolist() == [found]


def test_val_is_validation_in_an_official_data_set_too(epic_root: Path, tmp_path: Path) -> None:
    plan = plan_of(epic_root, tmp_path / "s", splits=["val", "validation"])
    assert plan.segments["split"].iloc[plan.selected].tolist() == ["validation"] * 14


def test_a_table_without_labels_needs_a_flag_that_other_data_sets_do_not_know(epic_root: Path, tmp_path: Path) -> None:
    config = table(tmp_path, "a.mp4", header="rgb")
    with pytest.raises(ConfigError, match="has no labels"):
        make_plan(config)
    config.unlabelled = True
    plan = make_plan(config)
    assert (plan.meta.tasks, plan.meta.eval_split) == ({}, "")
    with pytest.raises(ConfigError, match="--unlabelled: the labels of epic are in its annotations"):
        plan_of(epic_root, tmp_path / "s.zarr", unlabelled=True)
