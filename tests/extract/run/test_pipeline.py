"""Whole extracts with Ray: faults, interruptions and second runs, on real files and with real kills."""

import dataclasses
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from mmcache.extract.encoders import build_encoder
from mmcache.extract.encoders.base.weights import WeightsError
from mmcache.extract.planning.extract_config import ExtractConfig
from mmcache.extract.planning.plan import Plan, make_plan
from mmcache.extract.planning.plan_warnings import plan_warnings
from mmcache.extract.run.pipeline import ExtractSummary, check_failures, run_extract
from mmcache.store.feature_store import FeatureStore
from mmcache.store.format.layout import Presence
from mmcache.store.ground.errors import FingerprintError, StoreError, TooManyFailures
from mmcache.store.ground.lock import writer_lock
from mmcache.store.manage.verify import verify

ENCODERS = {"rgb": "swin3d_demo", "audio": "ast_demo", "imu": "imu_demo"}
SHARD_MB = 0.16  # as in epic_store: 14 shards
CACHED, MISSING, FAILED, TO_DO = Presence.CACHED, Presence.MISSING, Presence.FAILED, Presence.TO_DO


def plan_of(root: Path, store: Path, **options: Any) -> Plan:
    given = {"encoder": ENCODERS, "weights": "random", "batch_size": 16, "shard_mb": SHARD_MB, **options}
    return make_plan(ExtractConfig("epic", root, store=store, **given))


def ids_of(store: FeatureStore, modality: str, status: Presence) -> set[str]:
    return set(store.segments["id"][store.present[modality] == status])


def tokens_by_id(store: FeatureStore, modality: str) -> dict[str, NDArray[np.floating]]:
    rows = np.flatnonzero(store.present[modality] == CACHED)
    return dict(zip(store.segments["id"].iloc[rows], store.tokens[modality].read(rows), strict=True))


def same_tokens(
    one: FeatureStore, other: FeatureStore, but: str | None = None, modalities: Iterable[str] = ENCODERS
) -> None:
    """What both have is the same, but for rounding; batches are cut otherwise where a segment fails."""
    for modality in modalities:
        ours, theirs = tokens_by_id(one, modality), tokens_by_id(other, modality)
        shared = (ours.keys() & theirs.keys()) - {but}
        assert len(shared) > 10
        for name in shared:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-3, atol=2e-3, err_msg=f"{modality} {name}")


# --- faults --------------------------------------------------------------------------------------------------------


def index_first(path: Path) -> None:
    """Rewrite an MP4, packets as they are, with its index before the data, as cameras and servers do."""
    moved = path.with_suffix(".tmp")
    with (
        av.open(str(path)) as source,
        av.open(str(moved), "w", format="mp4", options={"movflags": "faststart"}) as target,
    ):
        streams = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                target.mux(packet)
    os.replace(moved, path)


def damage(root: Path) -> None:
    """One video cut off, one empty, one a text file; of the IMU files one gone, one noise; a segment too long."""
    cut = root / "P01" / "videos" / "P01_101.MP4"
    index_first(cut)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 6 // 10])
    (root / "P01" / "videos" / "P01_102.MP4").write_bytes(b"")
    (root / "P08" / "videos" / "P08_101.MP4").write_text("I am no video.\n" * 100)
    (root / "P05" / "meta_data" / "P05_101-gyro.csv").unlink()
    (root / "P01" / "meta_data" / "P01_101-accl.csv").write_bytes(np.random.default_rng(0).bytes(5000))
    file = root / "epic-kitchens-100-annotations" / "EPIC_100_validation.csv"
    table = pd.read_csv(file, dtype=str)
    table.loc[table["narration_id"] == "P06_01_3", "stop_timestamp"] = "00:00:45.00"
    table.to_csv(file, index=False)


@dataclasses.dataclass
class Run:
    root: Path
    store: Path
    plan: Plan
    summary: ExtractSummary
    progress: Any


@pytest.fixture(scope="module")
def faulty(epic_root: Path, tmp_path_factory: pytest.TempPathFactory, watcher: Any) -> Run:
    """An extract of a damaged tree."""
    folder = tmp_path_factory.mktemp("faulty")
    root, store = folder / "epic", folder / "s.zarr"
    shutil.copytree(epic_root, root)
    damage(root)
    plan = plan_of(root, store)
    progress = watcher()
    return Run(root, store, plan, run_extract(plan, progress), progress)


def test_a_damaged_tree_is_done_to_the_end_and_every_loss_is_named(faulty: Run) -> None:
    store = FeatureStore.open(faulty.store)
    reasons = {(line["modality"], line["id"]): line["reason"] for line in store.failures}
    failed = {(m, i) for m in ENCODERS for i in ids_of(store, m, FAILED)}
    assert failed == set(reasons)
    assert failed == {(line["modality"], line["id"]) for line in faulty.summary.failures}

    def of(modality: str, video: str) -> dict[str, str]:
        return {i: reason for (m, i), reason in reasons.items() if m == modality and i.startswith(video + "_")}

    for modality in ("rgb", "audio"):
        assert set(of(modality, "P01_102").values()) == {"P01_102.MP4 is empty (0 bytes)"}
        assert len(of(modality, "P01_102")) == 8
        assert len(of(modality, "P08_101")) == 2
        assert all("P08_101.MP4 cannot be decoded: damaged" in r for r in of(modality, "P08_101").values())
        # The cut video: its early segments are there, its later ones say why not.
        lost = {int(i.rpartition("_")[2]) for i in of(modality, "P01_101")}
        assert lost
        assert lost == set(range(min(lost), 8))
        assert 2 <= min(lost) <= 6
        assert all("P01_101.MP4" in r and "cut off" in r for r in of(modality, "P01_101").values())
    assert len(of("imu", "P05_101")) == 10
    assert set(of("imu", "P05_101").values()) == {"P05_101-gyro.csv is not there"}
    assert len(of("imu", "P01_101")) == 8
    assert all("P01_101-accl.csv" in reason for reason in of("imu", "P01_101").values())
    assert {i.rpartition("_")[0] for _, i in failed} == {"P01_101", "P01_102", "P05_101", "P08_101"}
    assert verify(faulty.store) == []


def test_what_is_missing_or_mended_is_noted_and_no_failure(faulty: Run) -> None:
    store = FeatureStore.open(faulty.store)
    assert {i.rpartition("_")[0] for i in ids_of(store, "audio", MISSING)} == {"P02_102", "P03_101"}
    assert {i.rpartition("_")[0] for i in ids_of(store, "rgb", MISSING)} == {"P03_101"}
    assert {i.rpartition("_")[0] for i in ids_of(store, "imu", MISSING)} == {"P02_01", "P06_01"}
    notes = {(line["modality"], line["id"]): line["reason"] for line in store.notes}
    silent = {("audio", f"P02_102_{i}"): "P02_102.MP4 has no audio stream" for i in range(6)}
    assert {key: reason for key, reason in notes.items() if key in silent} == silent
    clamped = {key: reason for key, reason in notes.items() if key not in silent}
    assert set(clamped) == {("rgb", "P06_01_3"), ("audio", "P06_01_3")}
    assert "past the video's end; clamped" in clamped["rgb", "P06_01_3"]
    assert "past the audio's end; clamped" in clamped["audio", "P06_01_3"]
    assert faulty.summary.notes == store.notes


def test_nothing_good_is_lost_and_it_is_the_same_as_without_the_faults(faulty: Run, epic_store: Path) -> None:
    hurt, whole = FeatureStore.open(faulty.store), FeatureStore.open(epic_store)
    for modality in ENCODERS:
        lost = ids_of(whole, modality, CACHED) - ids_of(hurt, modality, CACHED)
        assert lost == ids_of(hurt, modality, FAILED)
        assert not (hurt.present[modality] == TO_DO).any()
    same_tokens(hurt, whole, but="P06_01_3")


def test_the_summary_adds_up_and_too_many_failures_end_with_exit_code_3(faulty: Run) -> None:
    counts = faulty.summary.counts
    assert all(sum(count.values()) == 52 for count in counts.values())
    failed = sum(count["failed"] for count in counts.values())
    cached = sum(count["cached"] for count in counts.values())
    assert failed == len(faulty.summary.failures)
    assert faulty.summary.failed_share == pytest.approx(failed / (failed + cached))
    assert faulty.summary.settled == 3 * 52
    check_failures(faulty.summary, 1.0)
    check_failures(faulty.summary, faulty.summary.failed_share)
    with pytest.raises(TooManyFailures, match=r"\d+\.\d% of the segments failed, more than --max-failures") as caught:
        check_failures(faulty.summary, 0.01)
    assert caught.value.exit_code == 3
    assert "failures.jsonl" in str(caught.value)
    assert "--retry-failed" in str(caught.value)


def test_progress_tells_how_far_the_run_is(faulty: Run) -> None:
    told = faulty.progress
    assert told.totals == {"rgb": 52, "audio": 52, "imu": 52}
    assert told.stops == 1
    assert told.seen[-1] == told.totals
    for done in told.seen:
        assert all(0 <= done.get(modality, 0) <= total for modality, total in told.totals.items())
    for modality in told.totals:
        counts = [done.get(modality, 0) for done in told.seen]
        assert counts == sorted(counts)


def test_a_second_run_does_nothing_and_starts_no_ray(faulty: Run) -> None:
    before = {path: path.stat().st_mtime_ns for path in faulty.store.rglob("*")}
    code = f"""
import sys, time
from pathlib import Path
from mmcache.extract.planning.extract_config import ExtractConfig
from mmcache.extract.run.pipeline import run_extract
from mmcache.extract.planning.plan import make_plan
config = ExtractConfig("epic", Path({str(faulty.root)!r}), store=Path({str(faulty.store)!r}), encoder={ENCODERS!r},
                       weights="random", batch_size=16, shard_mb={SHARD_MB})
plan = make_plan(config)
assert plan.nothing_to_do
began = time.perf_counter()
summary = run_extract(plan, None)
print(time.perf_counter() - began, summary.settled, len(summary.failures), "ray" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    seconds, settled, failures, ray = done.stdout.split()
    assert float(seconds) < 2
    assert (int(settled), int(failures), ray) == (0, len(faulty.summary.failures), "False")
    assert {path: path.stat().st_mtime_ns for path in faulty.store.rglob("*")} == before
    assert not list(faulty.store.parent.glob(".*"))  # neither lock nor leftovers


@pytest.mark.slow
def test_files_put_right_are_done_with_retry_failed_and_only_then(
    faulty: Run, epic_root: Path, epic_store: Path, tmp_path: Path, watcher: Any
) -> None:
    root, store = tmp_path / "epic", tmp_path / "s.zarr"
    shutil.copytree(faulty.root, root)
    shutil.copytree(faulty.store, store)
    for good in epic_root.rglob("P*_1*"):
        if good.is_file():
            shutil.copy(good, root / good.relative_to(epic_root))
    assert plan_of(root, store).nothing_to_do
    plan = plan_of(root, store, retry_failed=True)
    to_do = {(part.modality, plan.segments["id"].iloc[row]) for part in plan.modalities for row in part.to_do}
    failed = {(line["modality"], line["id"]) for line in faulty.summary.failures}
    assert to_do == failed | {("audio", f"P02_102_{i}") for i in range(6)}
    summary = run_extract(plan, watcher())
    assert summary.failures == []
    assert not (store / "failures.jsonl").exists()
    assert verify(store) == []
    mended, whole = FeatureStore.open(store), FeatureStore.open(epic_store)
    for modality in ENCODERS:
        np.testing.assert_array_equal(mended.present[modality], whole.present[modality])
    same_tokens(mended, whole, but="P06_01_3")
    assert [line["id"] for line in mended.notes].count("P06_01_3") == 2


# --- parts of the work ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_part_then_all_with_media_that_arrived_meanwhile(
    epic_copy: Path, epic_store: Path, tmp_path: Path, watcher: Any
) -> None:
    store = tmp_path / "s.zarr"
    late = [epic_copy / "P01" / "videos" / "P01_102.MP4", *(epic_copy / "P01" / "meta_data").glob("P01_102-*.csv")]
    assert len(late) == 3
    for path in late:
        path.rename(tmp_path / path.name)
    summary = run_extract(plan_of(epic_copy, store, splits=["train"], limit=12), watcher())
    first = FeatureStore.open(store)
    assert first.segments["id"][8:12].str.startswith("P01_102_").all()
    for modality in ENCODERS:
        expected = np.repeat([CACHED, MISSING, TO_DO], [8, 4, 40])
        np.testing.assert_array_equal(first.present[modality], expected)
        assert summary.counts[modality] == {"cached": 8, "missing": 4, "failed": 0, "to_do": 0}
    assert verify(store) == []
    for path in late:
        (tmp_path / path.name).rename(path)
    assert [len(part.to_do) for part in plan_of(epic_copy, store, splits=["train"], limit=12).modalities] == [4, 4, 4]
    plan = plan_of(epic_copy, store, batch_size=2)
    assert [len(part.to_do) for part in plan.modalities] == [44, 44, 44]
    progress = watcher()
    run_extract(plan, progress)
    assert set(progress.expected) == set(ENCODERS)  # measured beforehand, as there are 20 windows and more
    assert all(0 < seconds < 600 for seconds in progress.expected.values())
    both, whole = FeatureStore.open(store), FeatureStore.open(epic_store)
    for modality in ENCODERS:
        np.testing.assert_array_equal(both.present[modality], whole.present[modality])
    same_tokens(both, whole)
    assert verify(store) == []
    assert both.meta.coverage == whole.meta.coverage
    assert plan_of(epic_copy, store).nothing_to_do


# --- what does not go together ---------------------------------------------------------------------------------------


def no_ray_of_ours() -> bool:
    return not [p for p in psutil.Process().children(recursive=True) if "ray" in p.name()]


@pytest.mark.slow
def test_weights_of_another_seed_are_refused(
    epic_root: Path, store_copy: Path, contents: Callable[[Path], dict[str, bytes]], watcher: Any
) -> None:
    before = contents(store_copy)
    with pytest.raises(FingerprintError, match=r"tokens made differently.\n  weights_sha256: the store has") as caught:
        run_extract(plan_of(epic_root, store_copy, weights="random:1"), watcher())
    assert caught.value.exit_code == 2
    assert "--store PATH" in str(caught.value)
    assert contents(store_copy) == before
    assert not list(store_copy.parent.glob(".epic*"))
    assert no_ray_of_ours()


@pytest.mark.slow
def test_weights_that_do_not_fit_are_told_as_such(epic_root: Path, tmp_path: Path, watcher: Any) -> None:
    """An error of ours that a worker raises arrives as it was raised."""
    state = build_encoder("imu_demo", "random").model.state_dict()
    save_file({**state, "more": torch.zeros(1)}, tmp_path / "imu_demo.safetensors")
    plan = plan_of(epic_root, tmp_path / "s.zarr", weights=str(tmp_path), modalities=["imu"])
    progress = watcher()
    with pytest.raises(WeightsError, match=r"imu_demo\.safetensors does not fit imu_demo"):
        run_extract(plan, progress)
    assert (progress.totals, progress.stops) == ({}, 0)
    assert no_ray_of_ours()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "field"),
    [({"k": 8}, "k: the store has None, this run 8"), ({"dtype": "float32"}, "float32")],
    ids=["k", "dtype"],
)
def test_other_tokens_are_refused_though_nothing_is_to_do(
    options: dict[str, Any],
    field: str,
    epic_root: Path,
    store_copy: Path,
    contents: Callable[[Path], dict[str, bytes]],
    watcher: Any,
) -> None:
    """With everything cached already, asking for other tokens must not be answered with 'nothing to do'."""
    before = contents(store_copy)
    with pytest.raises(StoreError, match=field):
        run_extract(plan_of(epic_root, store_copy, **options), watcher())
    assert contents(store_copy) == before


def test_a_store_that_another_process_writes_is_left_alone(
    epic_root: Path, store_copy: Path, contents: Callable[[Path], dict[str, bytes]], watcher: Any
) -> None:
    before = contents(store_copy)
    plan = plan_of(epic_root, store_copy, retry_failed=True)
    with writer_lock(store_copy), pytest.raises(StoreError, match=rf"another process \(pid {os.getpid()}\)"):
        run_extract(plan, watcher())
    assert contents(store_copy) == before


def test_random_weights_are_warned_about(epic_root: Path, tmp_path: Path) -> None:
    asked = plan_warnings(plan_of(epic_root, tmp_path / "s", weights="random:3"))
    assert len(asked) == 3
    assert all("seeded random weights: good for trying things out, not for results" in text for text in asked)
    forced = plan_warnings(plan_of(epic_root, tmp_path / "s", weights="pretrained", encoder={"audio": "ast_t"}))
    assert forced == [
        "ast_t has no published weights: seeded random weights are used for audio",
        "imu_transformer has no published weights: seeded random weights are used for imu",
    ]
    assert plan_warnings(plan_of(epic_root, tmp_path / "s", weights=str(tmp_path))) == []
