"""The workers of a run as Ray actors: start them, call them, and replace dead ones."""

import contextlib
import dataclasses
import secrets
import time
from pathlib import Path
from typing import Any

from mmcache.extract.run.cluster import Place
from mmcache.extract.run.shard_recovery import Death
from mmcache.extract.run.worker import ExtractWorker, ShardTask
from mmcache.store.format import layout
from mmcache.store.ground.errors import ConfigError, MmcacheError

START_S = 120.0  # how long a worker may take to start
_GONE_S = 10.0  # how long a killed worker may take to end
_ATTEMPTS = 3
_MEASURE_S = 300.0  # how long measuring may take; a slower modality gets no estimate
_FATAL = "Fatal Python error: "  # what the interpreter writes before a signal ends it


@dataclasses.dataclass(eq=False)
class Worker:
    """One actor, the place it runs at, and the file to which it writes the cause of a crash."""

    actor: Any
    place: Place
    trace: Path


class WorkerPool:
    """The workers of a run.

    Args:
        places: one worker is made for each.
        root: the store, which every worker must be able to access.
        media: some files or folders that every worker must be able to access.

    Attributes:
        ready: workers that have started.
        starting: the reference of a pending start -> its worker.
    """

    def __init__(self, ray: Any, places: list[Place], root: Path, media: list[Path]) -> None:
        self._ray = ray
        self._remote = ray.remote(ExtractWorker)
        self._media, self._token = media, secrets.token_hex(16)
        self._probe = root / layout.WORK / f"probe-{self._token[:8]}"  # a worker that can read it uses the same disk
        self._probe.parent.mkdir(parents=True, exist_ok=True)
        self._probe.write_text(self._token)
        self._made = 0  # workers started so far
        self.deaths = _deaths(ray)
        self.ready: list[Worker] = []
        self.starting: dict[Any, Worker] = {}
        for place in places:
            self.add(place)

    def add(self, place: Place) -> None:
        """Start a worker; `arrived` adds it to `ready`."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        actor = self._remote.options(
            num_cpus=place.threads,
            num_gpus=place.gpus,
            # One call each for the running shard, its progress, and stop.
            max_concurrency=3,
            scheduling_strategy=NodeAffinitySchedulingStrategy(place.node, soft=True),
        ).remote(place.threads)
        report = actor.missing_files.remote(self._probe, self._token, self._media)
        self._made += 1
        trace = self._probe.with_name(f"{self._probe.name}-trace-{self._made}")
        actor.record_crashes.remote(trace)
        self.starting[report] = Worker(actor, place, trace)

    def gather(self) -> None:
        """Wait until every worker has started; slow ones may join later.

        Raises:
            ConfigError: a node cannot access the store or the media, or lacks mmcache.
            MmcacheError: no worker could be started.
        """
        until = time.monotonic() + START_S
        while self.starting and time.monotonic() < until:
            done, _ = self._ray.wait(list(self.starting), timeout=max(0.0, until - time.monotonic()))
            for report in done:
                self.arrived(report)
        if not self.ready:
            raise MmcacheError(
                f"no worker could be started within {START_S:.0f} s: other work may hold the CPUs or GPUs. "
                "`ray status` shows what is free; --workers N asks for fewer."
            )

    def arrived(self, report: Any) -> Worker | None:
        """Handle the start of a worker; None if it died."""
        worker = self.starting.pop(report)
        try:
            missing_files = self._ray.get(report)
        except self.deaths as error:
            if "ModuleNotFoundError" in str(error):
                missing = str(error).rpartition("ModuleNotFoundError:")[2].split("\n")[0].strip()
                raise ConfigError(
                    f"a worker on node {worker.place.name} could not be made: {missing}. Install the same mmcache on "
                    "every node of the cluster."
                ) from error
            return None
        if missing_files:
            raise ConfigError(
                f"node {worker.place.name} does not see {', '.join(missing_files)}. On a cluster the store and the "
                "media must lie on a disk that all nodes share, under the same path."
            )
        self.ready.append(worker)
        return worker

    def replace_dead(self, worker: Worker) -> Death:
        """Replace a worker that died, and return the cause."""
        self.replace_worker(worker)
        try:
            trace = worker.trace.read_text(errors="replace")
        except OSError:  # its node is gone
            trace = ""
        if trace.startswith(_FATAL):
            return Death(f"crashes the process ({trace.splitlines()[0].removeprefix(_FATAL)})", True)
        return Death("ends the process, as the kernel does where memory runs out")

    def replace_worker(self, worker: Worker) -> None:
        """Kill a worker if it still runs, and start another at its place."""
        with contextlib.suppress(Exception):  # it may be gone already
            self._ray.kill(worker.actor)
        self.ready.remove(worker)
        self.add(worker.place)

    def remove(self, worker: Worker) -> None:
        """Kill a worker and wait until it can no longer write."""
        self.replace_worker(worker)
        until = time.monotonic() + _GONE_S
        while time.monotonic() < until:
            try:
                self._ray.get(worker.actor.progress.remote(), timeout=0.5)
            except self._ray.exceptions.GetTimeoutError:
                continue
            except self.deaths:
                return

    def ask(self, turn: int, method: str, *arguments: Any) -> Any:
        """Call a method of one worker, chosen by `turn`; if it dies, of another one.

        Raises:
            MmcacheError: three workers died, or the method raised it.
        """
        for attempt in range(_ATTEMPTS):
            if not self.ready:
                self._await_one()
            worker = self.ready[(turn + attempt) % len(self.ready)]
            try:
                return get(self._ray, getattr(worker.actor, method).remote(*arguments))
            except self.deaths:
                self.replace_worker(worker)
        raise MmcacheError(
            f"{_ATTEMPTS} workers died while loading an encoder. Memory may have run out: try fewer --workers, "
            "or a smaller encoder with --encoder."
        )

    def measure(self, turn: int, task: ShardTask) -> float | None:
        """Seconds per segment of `task`; None if the worker dies or takes too long."""
        if not self.ready:
            self._await_one()
        worker = self.ready[turn % len(self.ready)]
        try:
            return float(self._ray.get(worker.actor.measure.remote(task), timeout=_MEASURE_S))
        except (*self.deaths, self._ray.exceptions.GetTimeoutError):
            self.replace_worker(worker)
            return None

    def _await_one(self) -> None:
        done, _ = self._ray.wait(list(self.starting), timeout=START_S)
        for report in done:
            self.arrived(report)
        if not self.ready:
            raise MmcacheError(f"no worker is left, and none could be started within {START_S:.0f} s; see `ray status`")

    def close(self) -> None:
        for file in self._probe.parent.glob(f"{self._probe.name}*"):
            file.unlink(missing_ok=True)


def get(ray: Any, reference: Any) -> Any:
    """ray.get, but raises mmcache's own errors as the worker raised them."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, (MmcacheError, OSError)):
            raise error.cause from None
        raise


def _deaths(ray: Any) -> tuple[type[Exception], ...]:
    """The exceptions of Ray for a lost worker, node or connection."""
    e = ray.exceptions
    return (e.RayActorError, e.WorkerCrashedError, e.NodeDiedError, e.OutOfMemoryError, e.ActorUnschedulableError)
