"""Media that are replaced or removed after they were cached are noticed, and --refresh does those again."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmcache.cli.demo_data import DemoVideo, write_epic_demo
from mmcache.extract.media.base.source import Source
from mmcache.extract.planning.extract_config import ExtractConfig
from mmcache.extract.planning.media_stamps import MediaStamp, stamp_of
from mmcache.extract.planning.plan import Plan, make_plan
from mmcache.extract.run import pipeline
from mmcache.extract.run.worker import ExtractWorker
from mmcache.store.feature_store import FeatureStore
from mmcache.store.format.layout import Presence
from mmcache.store.format.reports import finish_reports
from mmcache.store.ground.errors import StoreMismatchError
from mmcache.store.manage.merge import merge_stores
from mmcache.store.manage.repair import repair
from mmcache.store.manage.verify import verify
from mmcache.store.write.create import create_store, replace_empty_store

VIDEOS = [DemoVideo(f"P01_{101 + i}", "train", 2, picture=False, sound=False) for i in range(6)]


class _Here:
    """A crew of one worker in this process."""

    def __init__(self) -> None:
        self.worker = ExtractWorker(2)

    def ask(self, turn: int, method: str, *arguments: Any) -> Any:
        return getattr(self.worker, method)(*arguments)


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("media") / "epic"
    write_epic_demo(root, VIDEOS)
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "epic"))


def plan_of(root: Path, **options: Any) -> Plan:
    given = {"modalities": ["imu"], "encoder": {"imu": "imu_demo"}, "weights": "random", "shard_mb": 0.01, **options}
    return make_plan(ExtractConfig("epic", root, store=root.parent / "s.zarr", **given))


def extract(plan: Plan) -> FeatureStore:
    """What run_extract does, without other processes."""
    if plan.replaces:
        replace_empty_store(plan.root, plan.segments, plan.meta)
    elif not plan.root.exists():
        create_store(plan.root, plan.segments, plan.meta)
    crew = _Here()
    for tasks in pipeline._prepare(plan, crew).values():  # type: ignore[arg-type]
        for task in tasks:
            crew.worker.run(task)
    finish_reports(plan.root)
    assert verify(plan.root) == []
    return FeatureStore.open(plan.root)


def file_of(root: Path, video: str, sensor: str = "accl") -> Path:
    return next(root.rglob(f"{video}-{sensor}.csv"))


def videos_of(plan: Plan, rows: np.ndarray) -> list[str]:
    return sorted(set(plan.segments["video"].iloc[rows]))


def test_what_changed_is_found_and_refresh_does_that_again_and_nothing_else(root: Path) -> None:
    before = extract(plan_of(root))
    kept = before.tokens["imu"].read(np.arange(12))
    plan = plan_of(root)
    assert plan.nothing_to_do
    assert len(plan.modalities[0].changed) == len(plan.modalities[0].gone) == 0
    other = file_of(root, "P01_105", "gyro").read_bytes()
    file_of(root, "P01_102", "gyro").write_bytes(other)  # another recording
    os.utime(file_of(root, "P01_103"), (1, 1))  # only its time differs
    file_of(root, "P01_104").unlink()
    plan = plan_of(root)
    (part,) = plan.modalities
    assert plan.nothing_to_do  # nothing is done again unasked
    assert videos_of(plan, part.changed) == ["P01_102"]  # of two files the newest counts, so 103 is the same
    assert videos_of(plan, part.gone) == ["P01_104"]
    plan = plan_of(root, refresh=True)
    assert videos_of(plan, plan.modalities[0].to_do) == ["P01_102"]
    after = extract(plan)
    again = after.tokens["imu"].read(np.arange(12))
    rows = plan.segments["video"] == "P01_102"
    assert not np.array_equal(again[rows], kept[rows])
    np.testing.assert_array_equal(again[~rows], kept[~rows])
    assert (after.present["imu"] == Presence.CACHED).all()
    assert after.tokens["imu"].fingerprint == before.tokens["imu"].fingerprint
    plan = plan_of(root, refresh=True)
    assert plan.nothing_to_do
    assert len(plan.modalities[0].changed) == 0


def test_what_failed_is_done_again_once_its_file_was_replaced(root: Path) -> None:
    good = file_of(root, "P01_102").read_bytes()
    file_of(root, "P01_102").write_bytes(b"\x00")
    assert (extract(plan_of(root)).present["imu"] == Presence.FAILED).sum() == 2
    file_of(root, "P01_102").write_bytes(good)
    plan = plan_of(root, refresh=True)
    assert videos_of(plan, plan.modalities[0].to_do) == ["P01_102"]
    assert (extract(plan).present["imu"] == Presence.CACHED).all()


def test_a_copy_of_a_store_and_a_store_from_before_claim_nothing_wrong(root: Path) -> None:
    extract(plan_of(root))
    store = root.parent / "s.zarr"
    shutil.move(store, root.parent / "moved.zarr")
    shutil.copytree(root.parent / "moved.zarr", store, copy_function=shutil.copyfile)  # every time is new
    assert len(plan_of(root).modalities[0].changed) == 0
    for file in store.rglob("sources.jsonl*"):
        file.unlink()
    finish_reports(store)
    file_of(root, "P01_102").write_bytes(b"other")
    plan = plan_of(root, refresh=True)
    assert plan.nothing_to_do
    assert len(plan.modalities[0].changed) == len(plan.modalities[0].gone) == 0


def test_merge_takes_over_what_the_parts_were_made_of(root: Path, same_files: Callable[[Path, Path], None]) -> None:
    extract(plan_of(root))
    whole = shutil.move(root.parent / "s.zarr", root.parent / "whole.zarr")
    extract(plan_of(root, limit=5))
    part = shutil.move(root.parent / "s.zarr", root.parent / "part.zarr")
    merge_stores([Path(part), Path(whole)], root.parent / "s.zarr")
    assert (root.parent / "s.zarr" / "sources.jsonl").read_bytes() == (Path(whole) / "sources.jsonl").read_bytes()
    file_of(root, "P01_102").write_bytes(b"other")
    plan = plan_of(root)
    assert videos_of(plan, plan.modalities[0].changed) == ["P01_102"]


def test_a_damaged_record_is_found_and_restored(root: Path) -> None:
    extract(plan_of(root))
    record = root.parent / "s.zarr" / "sources.jsonl"
    sound = record.read_bytes()
    record.write_bytes(sound.replace(b'"bytes": 3', b'"bytes": 4'))
    assert record.read_bytes() != sound
    assert [finding.where for finding in verify(root.parent / "s.zarr")] == ["sources.jsonl"]
    assert repair(root.parent / "s.zarr").left == []
    assert record.read_bytes() == sound


def test_a_store_without_tokens_is_replaced_where_the_segments_differ_now(root: Path, made: Path) -> None:
    plan = plan_of(root)
    create_store(plan.root, plan.segments, plan.meta)  # as a first try leaves it, whose weights cannot be had
    shutil.rmtree(root)
    write_epic_demo(root, VIDEOS[:4])
    plan = plan_of(root)
    assert plan.replaces
    assert len(FeatureStore.open(plan.root)) == 12  # not yet
    store = extract(plan)
    assert len(store) == 8
    assert (store.present["imu"] == Presence.CACHED).all()
    assert sorted(path.name for path in root.parent.iterdir()) == ["epic", "s.zarr"]
    write_epic_demo(root, VIDEOS)
    with pytest.raises(StoreMismatchError, match="was made from other annotations"):
        plan_of(root)
    with pytest.raises(StoreMismatchError, match="was made from other annotations"):
        replace_empty_store(plan.root, make_plan(ExtractConfig("epic", root)).segments, plan.meta)


def test_folders_of_pictures_are_known_by_their_number_and_a_sample(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for i in range(100):
        (folder / f"{i:03d}.jpg").write_bytes(b"x" * i)
        os.utime(folder / f"{i:03d}.jpg", (1000, 1000))
    os.utime(folder, (1000, 1000))
    source = Source("frames", (folder,), rate=25.0)
    before = stamp_of(source)
    assert before is not None
    again = stamp_of(source)
    assert again is not None
    assert before.is_same(again)
    for i in range(100):  # all of them rewritten in their places, which leaves the folder's time
        (folder / f"{i:03d}.jpg").write_bytes(b"x" * i)
    os.utime(folder, (1000, 1000))
    rewritten = stamp_of(source)
    assert rewritten is not None
    assert not before.is_same(rewritten)
    (folder / "100.jpg").touch()
    os.utime(folder, (1000, 1000))
    more = stamp_of(source)
    assert more is not None
    assert more.bytes != rewritten.bytes


def test_two_seconds_are_no_difference_and_what_is_not_there_is_nothing(tmp_path: Path) -> None:
    assert MediaStamp(5, 10**18).is_same(MediaStamp(5, 10**18 + 1_900_000_000))
    assert not MediaStamp(5, 10**18).is_same(MediaStamp(5, 10**18 + 2_100_000_000))
    assert not MediaStamp(5, 10**18).is_same(MediaStamp(6, 10**18))
    assert stamp_of(Source("video", (tmp_path / "none.mp4",))) is None
    assert stamp_of(Source("oracle", ())) is None
