"""One worker, one shard at a time: what it writes is what the encoder gives, and one bad segment costs one segment."""

import dataclasses
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from mmcache.extract.datasets.epic.epic_kitchens import EpicKitchens
from mmcache.extract.encoders import build_encoder, encoder_info
from mmcache.extract.media import read_media
from mmcache.extract.media.base.source import Source
from mmcache.extract.run.worker import ExtractWorker, Job, ShardTask
from mmcache.store.feature_store import FeatureStore
from mmcache.store.format.kaverage import k_average
from mmcache.store.format.layout import Presence, StoreMeta
from mmcache.store.format.reports import finish_reports
from mmcache.store.ground.errors import FingerprintError
from mmcache.store.manage.verify import verify
from mmcache.store.write.add_tokens import add_tokens
from mmcache.store.write.create import create_store

N, LENGTH_S = 24, 1.5
CACHED, MISSING, FAILED, TO_DO = Presence.CACHED, Presence.MISSING, Presence.FAILED, Presence.TO_DO
WriteImu = Callable[..., tuple[Path, Path]]


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """A worker sets the number of threads of its whole process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def shaken(tmp_path: Path, write_imu: WriteImu) -> Source:
    """An IMU recording of 40 s of noise."""
    rng = np.random.default_rng(0)
    times = np.arange(0, 40, 0.005)
    noise = {sensor: rng.normal(0, 3, (len(times), 3)) for sensor in ("accl", "gyro")}
    return Source("imu", write_imu(tmp_path / "imu", "v", times, lambda t: noise["accl"], lambda t: noise["gyro"]))


def jobs_of(source: Source | None) -> list[Job]:
    return [Job(i, f"v_{i}", LENGTH_S * i, LENGTH_S * (i + 1), source) for i in range(N)]


def make_store(
    root: Path, worker: ExtractWorker, encoder: str, weights: str, k: int | None = None, dtype: str = "float16"
) -> None:
    """A store of N segments whose tokens all lie in one shard."""
    spans = [(f"v_{i}", "v", LENGTH_S * i, LENGTH_S * (i + 1), "train", 0) for i in range(N)]
    table = pd.DataFrame(spans, columns=["id", "video", "start_s", "stop_s", "split", "verb"])
    create_store(root, table, StoreMeta("epic", {"verb": ["take"]}, {"train": N}, "train"))
    info = encoder_info(encoder)
    tokens = min(info.tokens, k or info.tokens)
    add_tokens(root, "imu", worker.prepare(encoder, weights, k), tokens, info.width, dtype=dtype)


def run(
    root: Path,
    jobs: list[Job],
    *,
    encoder: str = "imu_demo",
    weights: str = "random",
    k: int | None = None,
    dtype: str = "float16",
    batch_size: int = 4,
    threads: int = 2,
) -> FeatureStore:
    worker = ExtractWorker(threads)
    if not root.exists():
        make_store(root, worker, encoder, weights, k, dtype)
    task = ShardTask(root, "imu", encoder, weights, k, 0, windows_of(jobs, batch_size))
    assert worker.run(task) == len(jobs)
    assert worker.progress() == (len(jobs), [])
    finish_reports(root)
    assert verify(root) == []
    return FeatureStore.open(root)


def windows_of(jobs: list[Job], batch_size: int) -> tuple[tuple[Job, ...], ...]:
    return tuple(tuple(jobs[start : start + batch_size]) for start in range(0, len(jobs), batch_size))


def tokens_of(store: FeatureStore, rows: list[int] | None = None) -> NDArray[np.floating]:
    return store.tokens["imu"].read(np.arange(N) if rows is None else np.array(rows))


def direct_tokens(jobs: list[Job], encoder: str = "imu_demo", weights: str = "random") -> NDArray[np.float32]:
    """The tokens of jobs, each read and encoded by itself."""
    net = build_encoder(encoder, weights)
    out = []
    for job in jobs:
        assert job.source is not None
        media = read_media(job.source, job.start_s, job.stop_s, net.info.request)
        out.append(net.encode(net.preprocess(media.array)[None])[0])
    return np.stack(out)


@pytest.mark.parametrize(("batch_size", "threads"), [(1, 1), (5, 2), (64, 3)])
def test_what_is_cached_is_what_the_encoder_gives_whatever_the_batches(
    batch_size: int, threads: int, tmp_path: Path, shaken: Source
) -> None:
    store = run(tmp_path / "s", jobs_of(shaken), batch_size=batch_size, threads=threads)
    assert (store.present["imu"] == CACHED).all()
    assert store.notes == store.failures == []
    np.testing.assert_allclose(tokens_of(store), direct_tokens(jobs_of(shaken)), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("modality", "encoder"), [("rgb", "swin3d_demo"), ("audio", "ast_demo")])
def test_batches_do_not_change_tokens_of_pictures_and_sound(
    modality: str, encoder: str, tmp_path: Path, epic_root: Path
) -> None:
    dataset = EpicKitchens(epic_root)
    rows = dataset.segments[dataset.segments["video"].isin(["P01_101", "P05_101"])][3:12]
    jobs = [
        Job(i, f"v_{i}", start, stop, dataset.source(modality, video))
        for i, (video, start, stop) in enumerate(rows[["video", "start_s", "stop_s"]].itertuples(index=False))
    ]
    rows_done = [job.row for job in jobs]
    found = [
        tokens_of(run(tmp_path / f"s{size}", jobs, encoder=encoder, batch_size=size), rows_done) for size in (1, 7)
    ]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(found[0], direct_tokens(jobs, encoder), rtol=1e-3, atol=1e-3)


def test_the_same_task_gives_the_same_bytes(tmp_path: Path, shaken: Source) -> None:
    files = []
    for name in ("a", "b"):
        run(tmp_path / name, jobs_of(shaken))
        files.append(contents(tmp_path / name))
    assert files[0] == files[1]


@pytest.mark.parametrize("k", [1, 5, 31, 32, 50])
def test_k_average_is_applied_before_caching(k: int, tmp_path: Path, shaken: Source) -> None:
    store = run(tmp_path / "s", jobs_of(shaken), k=k, dtype="float32")
    expected, _ = k_average(direct_tokens(jobs_of(shaken)), k)
    np.testing.assert_allclose(tokens_of(store), expected, atol=1e-4)


def test_bad_segments_in_the_middle_cost_only_themselves(tmp_path: Path, shaken: Source) -> None:
    good = tokens_of(run(tmp_path / "good", jobs_of(shaken)))
    random_bytes = tmp_path / "v-accl.csv"
    random_bytes.write_bytes(np.random.default_rng(0).bytes(3000))
    empty = tmp_path / "v-gyro.csv"
    empty.touch()
    jobs = jobs_of(shaken)
    faults = {
        3: (Source("imu", (random_bytes, shaken.paths[1])), FAILED, "v-accl.csv"),
        4: (Source("imu", (shaken.paths[0], empty)), FAILED, "v-gyro.csv is not a readable CSV"),
        9: (None, MISSING, None),
        10: (Source("imu", (tmp_path / "gone.csv", shaken.paths[1])), FAILED, "gone.csv is not there"),
        11: (Source("video", shaken.paths), FAILED, "video media cannot be read for an encoder that takes ImuRequest"),
        23: (None, MISSING, None),
    }
    for row, (source, _, _) in faults.items():
        jobs[row] = Job(row, jobs[row].segment, jobs[row].start_s, jobs[row].stop_s, source)
    store = run(tmp_path / "s", jobs, batch_size=3)
    expected = np.full(N, CACHED)
    for row, (_, status, _) in faults.items():
        expected[row] = status
    np.testing.assert_array_equal(store.present["imu"], expected)
    said = {line["id"]: line["reason"] for line in store.failures}
    assert set(said) == {"v_3", "v_4", "v_10", "v_11"}
    for row, (_, status, reason) in faults.items():
        if status == FAILED:
            assert reason in said[f"v_{row}"]
    assert store.notes == []
    kept = np.flatnonzero(expected == CACHED).tolist()
    np.testing.assert_allclose(tokens_of(store, kept), good[kept], atol=1e-3)


def test_what_was_mended_or_found_missing_is_noted(tmp_path: Path, shaken: Source) -> None:
    jobs = jobs_of(shaken)
    jobs[5] = Job(5, "v_5", 39.0, 40.6, shaken)  # past the recording's end
    jobs[6] = Job(6, "v_6", 55.0, 56.0, shaken)
    store = run(tmp_path / "s", jobs)
    assert store.present["imu"][[5, 6]].tolist() == [CACHED, MISSING]
    notes = {line["id"]: line for line in store.notes}
    assert set(notes) == {"v_5", "v_6"}
    assert "past the IMU recording's end; clamped" in notes["v_5"]["reason"]
    assert "not this segment" in notes["v_6"]["reason"]
    assert (notes["v_5"]["present"], notes["v_6"]["present"]) == (CACHED, MISSING)


@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
def test_tokens_that_are_not_numbers_are_a_failure_of_their_segment(
    tmp_path: Path, shaken: Source, write_imu: WriteImu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmcache.extract.media.imu.imu_tables._MOST", np.inf)  # the reader would have refused it
    good = tokens_of(run(tmp_path / "good", jobs_of(shaken)))
    table = [pd.read_csv(path) for path in shaken.paths]
    hurt = table[0]["Milliseconds"].between(7 * LENGTH_S * 1000 + 200, 8 * LENGTH_S * 1000 - 200)
    table[0].loc[hurt, "AcclY"] = 1e39  # a number, but not for float32
    table[0].to_csv(shaken.paths[0], index=False)
    store = run(tmp_path / "s", jobs_of(shaken))
    assert np.flatnonzero(store.present["imu"] != CACHED).tolist() == [7]
    assert [(line["id"], line["reason"]) for line in store.failures] == [
        ("v_7", "the encoder gave NaN or infinity among the tokens")
    ]
    others = [row for row in range(N) if row != 7]
    np.testing.assert_array_equal(tokens_of(store, others), good[others])


@pytest.mark.parametrize(("dtype", "status"), [("float16", FAILED), ("float32", CACHED)])
def test_what_float16_cannot_hold_is_a_failure_and_not_infinity(
    dtype: str, status: Presence, tmp_path: Path, shaken: Source
) -> None:
    state = {key: value.clone() for key, value in build_encoder("imu_demo", "random").model.state_dict().items()}
    state["blocks.norm.weight"] *= 1e5
    save_file(state, tmp_path / "loud.safetensors")
    store = run(tmp_path / "s", jobs_of(shaken), weights=str(tmp_path / "loud.safetensors"), dtype=dtype)
    assert (store.present["imu"] == status).all()
    if status == FAILED:
        assert {line["reason"] for line in store.failures} == {"the encoder gave values that float16 cannot hold"}
        assert not list((tmp_path / "s" / "tokens").rglob("c/0/0/0/0"))
    else:
        assert np.abs(tokens_of(store)).max() > 65504


def test_a_second_task_of_a_shard_keeps_what_the_first_cached(tmp_path: Path, shaken: Source) -> None:
    jobs = jobs_of(shaken)
    whole = tokens_of(run(tmp_path / "whole", jobs))
    first = run(tmp_path / "s", jobs[5:9])
    assert np.flatnonzero(first.present["imu"] == CACHED).tolist() == [5, 6, 7, 8]
    assert (first.present["imu"][[0, 4, 9, 23]] == TO_DO).all()
    kept = tokens_of(first, [5, 6, 7, 8])
    second = run(tmp_path / "s", [*jobs[:5], *jobs[9:]])
    assert (second.present["imu"] == CACHED).all()
    np.testing.assert_array_equal(tokens_of(second, [5, 6, 7, 8]), kept)
    np.testing.assert_allclose(tokens_of(second), whole, atol=1e-3)


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_other_weights_are_refused_before_anything_is_written(tmp_path: Path, shaken: Source) -> None:
    run(tmp_path / "s", jobs_of(shaken))
    before = contents(tmp_path / "s")
    task = ShardTask(tmp_path / "s", "imu", "imu_demo", "random:1", None, 0, windows_of(jobs_of(shaken), 4))
    with pytest.raises(FingerprintError, match="weights_sha256: the store has"):
        ExtractWorker(1).run(task)
    assert contents(tmp_path / "s") == before


def test_a_full_disk_leaves_the_shard_as_it_was(tmp_path: Path, shaken: Source) -> None:
    """The kernel refuses to write beyond a size, as a full disk does."""
    run(tmp_path / "s", jobs_of(shaken)[:3])
    before = contents(tmp_path / "s")
    task = ShardTask(tmp_path / "s", "imu", "imu_demo", "random", None, 0, windows_of(jobs_of(shaken)[3:], 4))
    worker = ExtractWorker(1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (32 * 1024, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            worker.run(task)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert contents(tmp_path / "s") == before
    assert worker.run(task) == N - 3
    finish_reports(tmp_path / "s")
    assert (FeatureStore.open(tmp_path / "s").present["imu"] == CACHED).all()


def test_a_worker_keeps_its_encoder(tmp_path: Path) -> None:
    worker = ExtractWorker(1)
    first = worker.prepare("imu_demo", "random", None)
    assert first == build_encoder("imu_demo", "random").fingerprint(None)
    assert worker.prepare("imu_demo", "random", 5).k == 5
    assert worker.prepare("ast_demo", "random:2", None) == build_encoder("ast_demo", "random:2").fingerprint(None)
    assert worker.prepare("imu_demo", "random", None) == first


def test_a_window_is_encoded_whole_though_some_of_it_is_cached_already(tmp_path: Path, shaken: Source) -> None:
    """What is encoded together shows in the last bits, so segments done again must be in the company they were in."""
    whole = run(tmp_path / "whole", jobs_of(shaken), batch_size=4)
    parts = tmp_path / "parts"
    for chosen in ([1, 6, 7], [0, 2, 3, 4, 5, *range(8, N)]):
        jobs = [dataclasses.replace(job, settled=job.row not in chosen) for job in jobs_of(shaken)]
        windows = [w for w in windows_of(jobs, 4) if any(not job.settled for job in w)]
        if not parts.exists():
            run(parts, [], batch_size=4)
        task = ShardTask(parts, "imu", "imu_demo", "random", None, 0, tuple(windows))
        assert ExtractWorker(1).run(task) == len(chosen)
    finish_reports(parts)
    np.testing.assert_array_equal(tokens_of(FeatureStore.open(parts)), tokens_of(whole))
    assert contents(parts) == contents(tmp_path / "whole")
