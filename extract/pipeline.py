"""Run a plan: Ray workers take shards until none is left. Killed at any moment, the same command goes on."""

import dataclasses
import logging
import os
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from mmcache.extract.encoders import ENCODERS, PRETRAINED, RANDOM
from mmcache.extract.plan import ModalityPlan, Plan
from mmcache.extract.worker import ExtractWorker, Job, ShardTask
from mmcache.store.atomic import remove_leftovers
from mmcache.store.create import create_store
from mmcache.store.errors import MmcacheError, TooManyFailures
from mmcache.store.feature_store import FeatureStore
from mmcache.store.fingerprint import Fingerprint
from mmcache.store.layout import Presence
from mmcache.store.lock import writer_lock
from mmcache.store.reports import finish_reports
from mmcache.store.writer import TokenWriter, add_tokens

_POLL_S = 0.3
_ATTEMPTS = 3  # of one shard, when the worker under it dies


class Progress(Protocol):
    """Who wants to know how far the run is."""

    def start(self, totals: dict[str, int]) -> None:
        """Modality -> segments to settle."""

    def update(self, done: dict[str, int]) -> None:
        """Modality -> segments settled so far."""

    def stop(self) -> None:
        """No more will come, whether the run ended well or not."""


class NoProgress:
    """For those who do not want to know."""

    def start(self, totals: dict[str, int]) -> None:
        return None

    def update(self, done: dict[str, int]) -> None:
        return None

    def stop(self) -> None:
        return None


@dataclasses.dataclass(frozen=True)
class ExtractSummary:
    """What a finished extract leaves behind, over the selected segments.

    Attributes:
        counts: modality -> presence name -> segments.
        failures, notes: lines of failures.jsonl and notes.jsonl that concern them.
    """

    store: str
    settled: int
    seconds: float
    counts: dict[str, dict[str, int]]
    failures: list[dict[str, Any]]
    notes: list[dict[str, Any]]
    problems: list[str]
    failed_share: float


def warnings_of(plan: Plan) -> list[str]:
    """What a user should know about the weights before the start."""
    out = []
    for part in plan.modalities:
        name, published = part.info.name, ENCODERS[part.info.name].published
        if plan.config.weights == PRETRAINED and published is None:
            out.append(f"{name} has no published weights: seeded random weights are used for {part.modality}")
        elif plan.config.weights.partition(":")[0] == RANDOM:
            out.append(f"{name} runs with seeded random weights: good for trying things out, not for results")
    return out


def run_extract(plan: Plan, progress: Progress) -> ExtractSummary:
    """Encode what the plan says is to do, and bring the store's reports up to date.

    Raises:
        WeightsError: an encoder's weights cannot be had.
        FingerprintError: the store holds tokens made differently.
        StoreError: another process writes the store.
    """
    began = time.perf_counter()
    with writer_lock(plan.root):
        if not plan.root.exists():
            create_store(plan.root, plan.segments, plan.meta)
        remove_leftovers(plan.root)
        if not (plan.nothing_to_do and all(_surely_same(plan, part) for part in plan.modalities)):
            with _workers(plan) as crew:
                tasks = _prepare(plan, crew)
                progress.start({part.modality: len(part.to_do) for part in plan.modalities})
                try:
                    _run_tasks(crew, tasks, progress)
                finally:
                    progress.stop()
        finish_reports(plan.root)
    return _summarise(plan, time.perf_counter() - began)


def check_failures(summary: ExtractSummary, allowed: float) -> None:
    """Raise TooManyFailures when more than `allowed` of the segments with media failed."""
    if summary.failed_share > allowed:
        raise TooManyFailures(
            f"{summary.failed_share:.1%} of the segments failed, more than --max-failures allows ({allowed:.1%}). "
            f"What could be used is cached; the reasons are in {summary.store}/failures.jsonl. "
            "Put the files right, then run the same command with --retry-failed."
        )


def _surely_same(plan: Plan, part: ModalityPlan) -> bool:
    """Whether the array is known to be made this way without loading any weights."""
    array = TokenWriter(plan.root, part.modality, part.info.name)
    if array.dtype != plan.config.dtype:
        return False
    saved = array.fingerprint
    kind, _, rest = saved.weights.partition(":")
    wanted = plan.config.weights
    if wanted == PRETRAINED and ENCODERS[part.info.name].published is None:
        wanted = RANDOM
    same_weights = kind == PRETRAINED == wanted or (
        wanted.partition(":")[0] == RANDOM == kind and (wanted.partition(":")[2] or "0") == rest
    )
    if same_weights:
        info = part.info
        ours = Fingerprint(
            info.name, saved.weights, saved.weights_sha256, info.described(), info.cap(plan.config.k), info.code_version
        )
        ours.check_same(saved, plan.root / "tokens" / part.modality / info.name)
    return same_weights


class _Crew:
    """The Ray actors, and how to replace one that died."""

    def __init__(self, ray: Any, count: int, threads: int, gpus: float) -> None:
        self._ray = ray
        remote = ray.remote(ExtractWorker)
        # Two concurrent calls: the shard that is running, and the question how far it is.
        self._make = lambda: remote.options(num_cpus=threads, num_gpus=gpus, max_concurrency=2).remote(threads)
        self.workers = [self._make() for _ in range(count)]

    def replace(self, worker: Any) -> Any:
        self.workers.remove(worker)
        self.workers.append(self._make())
        return self.workers[-1]


@contextmanager
def _workers(plan: Plan) -> Iterator[_Crew]:
    """Ray on this machine only, loopback only, for the time of the run."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    ray.init(
        address="local",
        _node_ip_address="127.0.0.1",
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=128 << 20,  # tokens never pass through it
    )
    try:
        resources = ray.cluster_resources()
        cpus, gpus = int(resources.get("CPU", 1)), int(resources.get("GPU", 0))
        count = plan.config.workers or max(1, gpus)
        if count > cpus:
            raise MmcacheError(f"--workers {count}: this machine has {cpus} CPUs for them. Use at most {cpus}.")
        yield _Crew(ray, count, threads=max(1, cpus // count), gpus=gpus / count)
    finally:
        ray.shutdown()


def _prepare(plan: Plan, crew: _Crew) -> deque[ShardTask]:
    """Have every encoder loaded once, make or check the arrays, and deal the rows to shards."""
    import ray

    tasks: deque[ShardTask] = deque()
    config = plan.config
    for i, part in enumerate(plan.modalities):
        worker = crew.workers[i % len(crew.workers)]
        fingerprint = _get(ray, worker.prepare.remote(part.info.name, config.weights, config.k))
        writer = add_tokens(
            plan.root,
            part.modality,
            fingerprint,
            part.tokens,
            part.info.width,
            dtype=config.dtype,
            shard_bytes=int(config.shard_mb * 2**20),
        )
        to_do = set(part.to_do.tolist())
        for shard in writer.grid.shards_of(part.to_do).tolist():
            rows = writer.grid.rows(shard)
            starts = range(rows.start, rows.stop, config.batch_size)
            windows = [range(start, min(start + config.batch_size, rows.stop)) for start in starts]
            wanted = [window for window in windows if not to_do.isdisjoint(window)]
            tasks.append(
                ShardTask(
                    plan.root,
                    part.modality,
                    part.info.name,
                    config.weights,
                    config.k,
                    shard,
                    tuple(tuple(_job(plan, part, row, row not in to_do) for row in window) for window in wanted),
                )
            )
    return tasks


def _job(plan: Plan, part: ModalityPlan, row: int, settled: bool) -> Job:
    segment = plan.segments.iloc[row]
    source = part.sources.get(segment["video"])
    return Job(row, segment["id"], segment["start_s"], segment["stop_s"], source, settled)


def _run_tasks(crew: _Crew, tasks: deque[ShardTask], progress: Progress) -> None:
    """Keep every worker busy until all shards are done. A worker that dies costs its shard one attempt."""
    import ray

    settled: Counter[str] = Counter()
    attempts: Counter[tuple[str, int]] = Counter()
    idle = list(crew.workers)
    running: dict[Any, tuple[Any, ShardTask]] = {}
    while tasks or running:
        while idle and tasks:
            worker, task = idle.pop(), tasks.popleft()
            running[worker.run.remote(task)] = worker, task
        finished, _ = ray.wait(list(running), timeout=_POLL_S)
        for reference in finished:
            worker, task = running.pop(reference)
            try:
                settled[task.modality] += _get(ray, reference)
                idle.append(worker)
            except ray.exceptions.RayActorError as error:
                attempts[task.modality, task.shard] += 1
                if attempts[task.modality, task.shard] == _ATTEMPTS:
                    raise MmcacheError(
                        f"the worker died {_ATTEMPTS} times on shard {task.shard} of {task.modality}, perhaps for want "
                        "of memory: try a smaller --batch-size or fewer --workers. Finished shards are kept."
                    ) from error
                tasks.append(task)
                idle.append(crew.replace(worker))
        progress.update(dict(settled + _under_way(ray, running)))


def _under_way(ray: Any, running: dict[Any, tuple[Any, ShardTask]]) -> Counter[str]:
    """Segments done of the shards that are being worked on; a worker that is slow to answer is not waited for."""
    done: Counter[str] = Counter()
    asked = {worker.progress.remote(): task.modality for worker, task in running.values()}
    answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=_POLL_S) if asked else ([], [])
    for reference in answered:
        try:
            done[asked[reference]] += ray.get(reference)
        except ray.exceptions.RayActorError:
            continue  # its shard's own reference reports the death
    return done


def _get(ray: Any, reference: Any) -> Any:
    """ray.get, with our own errors as they were raised in the worker."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, (MmcacheError, OSError)):
            raise error.cause from None
        raise


def _summarise(plan: Plan, seconds: float) -> ExtractSummary:
    store = FeatureStore.open(plan.root)
    chosen = set(plan.segments["id"].iloc[plan.selected])
    ours = {(part.modality, part.info.name) for part in plan.modalities}
    counts: dict[str, dict[str, int]] = {}
    for part in plan.modalities:
        status = store.present[f"{part.modality}/{part.info.name}"][plan.selected]
        counts[part.modality] = {p.name.lower(): int((status == p).sum()) for p in Presence}
    failed = sum(count["failed"] for count in counts.values())
    with_media = failed + sum(count["cached"] for count in counts.values())

    def concerning(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [line for line in lines if line["id"] in chosen and (line["modality"], line["encoder"]) in ours]

    return ExtractSummary(
        store=str(plan.config.store_path()),
        settled=sum(len(part.to_do) for part in plan.modalities),
        seconds=seconds,
        counts=counts,
        failures=concerning(store.failures),
        notes=concerning(store.notes),
        problems=plan.dataset.problems,
        failed_share=failed / with_media if with_media else 0.0,
    )
