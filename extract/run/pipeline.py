"""Run a plan: Ray workers encode and write shards. After a kill, the same command continues."""

import dataclasses
import time
from pathlib import Path
from typing import Any

from mmcache.common.interrupts import Interrupted
from mmcache.common.plugins import is_file_spec
from mmcache.common.ray_link import connected
from mmcache.extract.encoders import entry_of
from mmcache.extract.encoders.base import views
from mmcache.extract.encoders.base.entry import NO_WEIGHTS, PRETRAINED, RANDOM
from mmcache.extract.encoders.inputs import augment
from mmcache.extract.planning.plan import ModalityPlan, Plan
from mmcache.extract.run.cluster import places
from mmcache.extract.run.dispatch import Dispatch, NoProgress, Progress
from mmcache.extract.run.worker import PATIENCE_S, Job, ShardTask
from mmcache.extract.run.worker_pool import WorkerPool
from mmcache.store.feature_store import FeatureStore
from mmcache.store.files.atomic import remove_leftovers
from mmcache.store.format.fingerprint import Fingerprint
from mmcache.store.format.layout import Presence
from mmcache.store.format.reports import finish_reports
from mmcache.store.ground.errors import TooManyFailures
from mmcache.store.ground.lock import writer_lock
from mmcache.store.write.add_tokens import add_tokens
from mmcache.store.write.create import create_store, replace_empty_store
from mmcache.store.write.token_writer import TokenWriter

_MEASURED_FROM = 20  # a modality with at least this many windows gets a time estimate

__all__ = ["ExtractSummary", "NoProgress", "Progress", "check_failures", "run_extract"]


@dataclasses.dataclass(frozen=True)
class ExtractSummary:
    """The result of an extract, over the selected segments.

    Attributes:
        counts: modality -> presence name -> segments.
        changed: modality -> segments whose media files have changed since they were cached, and that were not redone.
        failures, notes: their lines of failures.jsonl and notes.jsonl.
    """

    store: str
    settled: int
    seconds: float
    counts: dict[str, dict[str, int]]
    changed: dict[str, int]
    failures: list[dict[str, Any]]
    notes: list[dict[str, Any]]
    problems: list[str]
    failed_share: float


def run_extract(plan: Plan, progress: Progress) -> ExtractSummary:
    """Encode the segments that the plan selects, and update the store's reports.

    Raises:
        WeightsError: an encoder's weights cannot be loaded.
        FingerprintError: the store holds tokens made differently.
        StoreError: another process writes the store.
        ConfigError: the cluster cannot be reached, or its nodes cannot access the store.
        Interrupted: Ctrl-C or SIGTERM; the store is intact and keeps the finished segments.
    """
    began = time.perf_counter()
    with writer_lock(plan.root):
        whole = True
        if (
            plan.replaces
            or not plan.root.exists()
            or not (plan.nothing_to_do and all(_known_to_be_same(plan, p) for p in plan.modalities))
        ):
            with connected(plan.config.address) as ray:
                whole = _encode(ray, plan, progress)
        remove_leftovers(plan.root)  # of killed runs, and of workers that died in this one
        finish_reports(plan.root)
    summary = _summarise(plan, time.perf_counter() - began)
    if not whole:
        counts = ", ".join(f"{modality} {count['to_do']}" for modality, count in summary.counts.items())
        raise Interrupted(
            f"stopped after {summary.seconds:.0f} s. {summary.store} is intact and keeps the finished segments; still "
            f"to do: {counts} segments. The same command continues from there."
        )
    return summary


def _encode(ray: Any, plan: Plan, progress: Progress) -> bool:
    """Run all tasks; False if interrupted."""
    room = places(ray, plan.config.workers)
    if plan.replaces:
        replace_empty_store(plan.root, plan.segments, plan.meta)
    elif not plan.root.exists():
        create_store(plan.root, plan.segments, plan.meta)
    pool = WorkerPool(ray, room, plan.root, _some_media(plan))
    try:
        pool.gather()
        tasks = _prepare(plan, pool)
        dispatch = Dispatch(ray, pool, [task for part in tasks.values() for task in part], progress)
        progress.expect(_expected_seconds(pool, tasks, len(room)))
        progress.start({part.modality: len(part.to_do) for part in plan.modalities})
        try:
            return dispatch.run()
        finally:
            progress.stop()
    finally:
        pool.close()


def _some_media(plan: Plan) -> list[Path]:
    """One file or folder of each modality, and the files of plugins: workers on other machines must find them."""
    found = []
    for part in plan.modalities:
        paths = (path for source in part.sources.values() for path in source.paths if path.exists())
        found += [path for path in [next(paths, None)] if path is not None]
        if part.info.plugin is not None and is_file_spec(part.encoder):
            found.append(Path(part.encoder.rpartition(":")[0]))
    return found


def check_failures(summary: ExtractSummary, allowed: float) -> None:
    """Raise TooManyFailures when more than `allowed` of the segments with media failed."""
    if summary.failed_share > allowed:
        raise TooManyFailures(
            f"{summary.failed_share:.1%} of the segments failed, more than --max-failures allows ({allowed:.1%}). "
            f"The other segments are cached; the reasons are in {summary.store}/failures.jsonl. "
            "Repair the files, then run the same command with --retry-failed."
        )


def _known_to_be_same(plan: Plan, part: ModalityPlan) -> bool:
    """Whether the array was certainly made this way, without loading weights."""
    array = TokenWriter(plan.root, part.modality, part.info.name)
    if array.dtype != plan.config.dtype or array.shape[1] != plan.config.views:
        return False
    saved = array.fingerprint
    kind, _, rest = saved.weights.partition(":")
    wanted = plan.config.weights
    published = entry_of(part.encoder).published
    if wanted == PRETRAINED and published is None:
        wanted = RANDOM
    same_weights = (
        NO_WEIGHTS in (published, saved.weights)
        or kind == PRETRAINED == wanted
        or (wanted.partition(":")[0] == RANDOM == kind and (wanted.partition(":")[2] or "0") == rest)
    )
    if same_weights:
        info = part.info
        made = {**info.described(), **_more(plan, part)}
        ours = Fingerprint(
            info.name, saved.weights, saved.weights_sha256, made, info.cap(plan.config.k), info.code_version
        )
        ours.check_same(saved, plan.root / "tokens" / part.modality / info.name)
    return same_weights


def _prepare(plan: Plan, pool: WorkerPool) -> dict[str, list[ShardTask]]:
    """Load every encoder once, create or check the arrays, and divide the rows into tasks: modality -> tasks."""
    config = plan.config
    tasks: dict[str, list[ShardTask]] = {}
    for i, part in enumerate(plan.modalities):
        fingerprint: Fingerprint = pool.ask(
            i, "prepare", part.encoder, config.weights_choice(), config.k, _more(plan, part), part.encoder_sha256
        )
        writer = add_tokens(
            plan.root,
            part.modality,
            fingerprint,
            part.tokens,
            part.info.width,
            views=config.views,
            dtype=config.dtype,
            shard_bytes=int(config.shard_mb * 2**20),
        )
        tasks[part.modality] = _shard_tasks(plan, part, writer)
    return tasks


def _shard_tasks(plan: Plan, part: ModalityPlan, writer: TokenWriter) -> list[ShardTask]:
    """One task for each shard with segments to do, in whole windows."""
    config, tasks = plan.config, []
    to_do = set(part.to_do.tolist())
    columns = [plan.segments[name].tolist() for name in ("id", "video", "start_s", "stop_s")]

    def job(row: int) -> Job:
        segment, video, start_s, stop_s = (values[row] for values in columns)
        return Job(row, segment, start_s, stop_s, part.sources.get(video), settled=row not in to_do)

    for shard in writer.grid.shards_of(part.to_do).tolist():
        rows = writer.grid.rows(shard)
        starts = range(rows.start, rows.stop, config.batch_size)
        windows = [range(start, min(start + config.batch_size, rows.stop)) for start in starts]
        wanted = [window for window in windows if not to_do.isdisjoint(window)]
        tasks.append(
            ShardTask(
                root=plan.root,
                modality=part.modality,
                encoder=part.encoder,
                weights=config.weights_choice(),
                k=config.k,
                shard=shard,
                windows=tuple(tuple(job(row) for row in window) for window in wanted),
                views=config.views,
                mirrors=plan.dataset.mirrors,
                more=_more(plan, part),
                encoder_sha256=part.encoder_sha256,
                patience_s=PATIENCE_S,
            )
        )
    return tasks


def _more(plan: Plan, part: ModalityPlan) -> dict[str, Any]:
    """Entries of the fingerprint that describe the media and the views, beside the encoder's own preprocessing."""
    variants = {source.variant for source in part.sources.values()} - {""}
    said: dict[str, Any] = {"variant": "+".join(sorted(variants))} if variants else {}
    if plan.config.views > 1:
        said |= augment.parameters(part.info.request)
    return {**views.described(plan.config.views, plan.dataset.mirrors), **said}


def _expected_seconds(pool: WorkerPool, tasks: dict[str, list[ShardTask]], workers: int) -> dict[str, float]:
    """Modality -> expected seconds. A modality with few windows is not measured.

    A modality gets no estimate if a worker died or hung on its first window; running its shard finds the cause.
    """
    out = {}
    for i, (modality, part) in enumerate(tasks.items()):
        if sum(len(task.windows) for task in part) >= _MEASURED_FROM:
            each = pool.measure(i, part[0])
            if each is not None:
                out[modality] = each * sum(task.to_settle for task in part) / workers
    return out


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
        changed={part.modality: 0 if plan.config.refresh else len(part.changed) for part in plan.modalities},
        failures=concerning(store.failures),
        notes=concerning(store.notes),
        problems=plan.dataset.problems,
        failed_share=failed / with_media if with_media else 0.0,
    )
