"""The workers of a run as Ray actors: started, asked, replaced when they die, stopped."""

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

START_S = 120.0  # how long a worker may take to report in
_GONE_S = 10.0  # how long a killed one may take to go
_ATTEMPTS = 3
_MEASURE_S = 300.0  # how long measuring may take; who is slower gets no estimate
_FATAL = "Fatal Python error: "  # what the interpreter writes before it dies of a signal


@dataclasses.dataclass(eq=False)
class Worker:
    """One actor, the room it was made for, and the file in which it says what it crashed of."""

    actor: Any
    place: Place
    trace: Path


class Crew:
    """The workers of a run.

    Args:
        places: one worker is made for each.
        root: the store, which every worker must see.
        media: some files or folders that every worker must see.

    Attributes:
        ready: workers that have reported in.
        starting: the reference of a report -> the worker it is awaited from.
    """

    def __init__(self, ray: Any, places: list[Place], root: Path, media: list[Path]) -> None:
        self._ray = ray
        self._remote = ray.remote(ExtractWorker)
        self._media, self._token = media, secrets.token_hex(16)
        self._probe = root / layout.WORK / f"probe-{self._token[:8]}"  # a worker that can read it sees the same disk
        self._probe.parent.mkdir(parents=True, exist_ok=True)
        self._probe.write_text(self._token)
        self._made = 0  # workers started so far
        self.deaths = _deaths(ray)
        self.ready: list[Worker] = []
        self.starting: dict[Any, Worker] = {}
        for place in places:
            self.add(place)

    def add(self, place: Place) -> None:
        """Have a worker started; it is among `ready` once `arrived` has its report."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        actor = self._remote.options(
            num_cpus=place.threads,
            num_gpus=place.gpus,
            # The shard that is running, the question how far it is, and the order to stop.
            max_concurrency=3,
            scheduling_strategy=NodeAffinitySchedulingStrategy(place.node, soft=True),
        ).remote(place.threads)
        report = actor.unseen.remote(self._probe, self._token, self._media)
        self._made += 1
        trace = self._probe.with_name(f"{self._probe.name}-trace-{self._made}")
        actor.leave_trace.remote(trace)
        self.starting[report] = Worker(actor, place, trace)

    def gather(self) -> None:
        """Wait until every worker has reported in; those that take too long are left to come later.

        Raises:
            ConfigError: a node does not see the store or the media, or lacks mmcache.
            MmcacheError: none could be started.
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
        """Take in the report of a worker that was starting; None where it died."""
        worker = self.starting.pop(report)
        try:
            unseen = self._ray.get(report)
        except self.deaths as error:
            if "ModuleNotFoundError" in str(error):
                missing = str(error).rpartition("ModuleNotFoundError:")[2].split("\n")[0].strip()
                raise ConfigError(
                    f"a worker on node {worker.place.name} could not be made: {missing}. Install the same mmcache on "
                    "every node of the cluster."
                ) from error
            return None
        if unseen:
            raise ConfigError(
                f"node {worker.place.name} does not see {', '.join(unseen)}. On a cluster the store and the media must "
                "lie on a disk that all nodes share, under the same path."
            )
        self.ready.append(worker)
        return worker

    def bury(self, worker: Worker) -> Death:
        """Replace a worker that died, and say what of."""
        self.lose(worker)
        try:
            trace = worker.trace.read_text(errors="replace")
        except OSError:  # its node is gone
            trace = ""
        if trace.startswith(_FATAL):
            return Death(f"crashes the process ({trace.splitlines()[0].removeprefix(_FATAL)})", True)
        return Death("ends the process, as the kernel does where memory runs out")

    def lose(self, worker: Worker) -> None:
        """Replace a worker that died or is not wanted any more; its place is taken as soon as there is room."""
        with contextlib.suppress(Exception):  # it may be gone already
            self._ray.kill(worker.actor)
        self.ready.remove(worker)
        self.add(worker.place)

    def remove(self, worker: Worker) -> None:
        """Kill a worker and wait until it can write no more."""
        self.lose(worker)
        until = time.monotonic() + _GONE_S
        while time.monotonic() < until:
            try:
                self._ray.get(worker.actor.progress.remote(), timeout=0.5)
            except self._ray.exceptions.GetTimeoutError:
                continue
            except self.deaths:
                return

    def ask(self, turn: int, method: str, *arguments: Any) -> Any:
        """What a method of one worker gives, `turn` saying which; of another one where it dies over it.

        Raises:
            MmcacheError: three died; or what the question raised.
        """
        for attempt in range(_ATTEMPTS):
            if not self.ready:
                self._await_one()
            worker = self.ready[(turn + attempt) % len(self.ready)]
            try:
                return get(self._ray, getattr(worker.actor, method).remote(*arguments))
            except self.deaths:
                self.lose(worker)
        raise MmcacheError(
            f"{_ATTEMPTS} workers died while an encoder was loaded, perhaps for want of memory: try fewer --workers, "
            "or a smaller encoder with --encoder."
        )

    def measure(self, turn: int, task: ShardTask) -> float | None:
        """Seconds a segment of `task` takes; None where the worker died over it, or is too slow to wait for."""
        if not self.ready:
            self._await_one()
        worker = self.ready[turn % len(self.ready)]
        try:
            return float(self._ray.get(worker.actor.measure.remote(task), timeout=_MEASURE_S))
        except (*self.deaths, self._ray.exceptions.GetTimeoutError):
            self.lose(worker)
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
    """ray.get, with our own errors as they were raised in the worker."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, (MmcacheError, OSError)):
            raise error.cause from None
        raise


def _deaths(ray: Any) -> tuple[type[Exception], ...]:
    """What Ray raises where a worker, its node or the way to it is gone."""
    e = ray.exceptions
    return (e.RayActorError, e.WorkerCrashedError, e.NodeDiedError, e.OutOfMemoryError, e.ActorUnschedulableError)
