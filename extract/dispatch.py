"""Deal shards to workers until none is left: dead workers are replaced, stragglers overtaken, Ctrl-C heeded."""

import dataclasses
import statistics
import time
from collections import Counter, defaultdict, deque
from typing import Any, Protocol

from mmcache.extract.crew import START_S, Crew, Worker, get
from mmcache.extract.worker import ShardTask
from mmcache.store.errors import MmcacheError

_POLL_S = 0.3
_ATTEMPTS = 3  # of one shard, when the worker under it dies
_SLOW = 2.0  # times the usual time of a shard, after which an idle worker does it too
_SLOW_AT_LEAST_S = 5.0
_FINISH_S = 60.0  # how long workers may take to keep what they have when the run is stopped


class Progress(Protocol):
    """Who wants to know how far the run is."""

    def start(self, totals: dict[str, int]) -> None:
        """Modality -> segments to settle."""

    def expect(self, seconds: dict[str, float]) -> None:
        """Modality -> how long it will take, as measured on its first segments, before the start of a longer run."""

    def update(self, done: dict[str, int]) -> None:
        """Modality -> segments settled so far."""

    def stop(self) -> None:
        """No more will come, whether the run ended well or not."""


class NoProgress:
    """For those who do not want to know."""

    def start(self, totals: dict[str, int]) -> None:
        return None

    def expect(self, seconds: dict[str, float]) -> None:
        return None

    def update(self, done: dict[str, int]) -> None:
        return None

    def stop(self) -> None:
        return None


Key = tuple[str, int]  # modality and shard


@dataclasses.dataclass(eq=False)
class _Run:
    """One worker at one shard."""

    worker: Worker
    task: ShardTask
    began: float

    @property
    def key(self) -> Key:
        return self.task.modality, self.task.shard


class Dispatch:
    """Runs tasks on a crew. Whoever finishes a shard first has done it: all give the same bytes."""

    def __init__(self, ray: Any, crew: Crew, tasks: list[ShardTask], progress: Progress) -> None:
        self._ray, self._crew, self._progress = ray, crew, progress
        self._tasks = deque(tasks)
        self._running: dict[Any, _Run] = {}
        self._settled: Counter[str] = Counter()
        self._attempts: Counter[Key] = Counter()
        self._seconds: defaultdict[str, list[float]] = defaultdict(list)  # modality -> those of finished shards

    def run(self) -> bool:
        """Whether all was done; if not, the run was interrupted, and what was done until then is kept.

        Raises:
            MmcacheError: the workers keep dying on one shard, or none is left; or what a worker raised.
        """
        try:
            while self._tasks or self._running:
                self._hand_out()
                self._wait(_POLL_S)
                self._progress.update(dict(self._settled + self._under_way()))
        except KeyboardInterrupt:
            self._stop()
            return False
        return True

    def _hand_out(self) -> None:
        """Give every idle worker a shard: the next one, or at the end one that takes too long elsewhere."""
        busy = {run.worker for run in self._running.values()}
        for worker in [worker for worker in self._crew.ready if worker not in busy]:
            task = self._tasks.popleft() if self._tasks else self._straggling()
            if task is None:
                return
            self._running[worker.actor.run.remote(task)] = _Run(worker, task, time.monotonic())

    def _straggling(self) -> ShardTask | None:
        """The shard that has run longest, where that is far longer than its like took and it is not done twice yet."""
        copies = Counter(run.key for run in self._running.values())
        for run in sorted(self._running.values(), key=lambda run: run.began):
            usual = self._seconds[run.task.modality]
            if not usual or copies[run.key] > 1:
                continue
            if time.monotonic() - run.began > max(_SLOW_AT_LEAST_S, _SLOW * statistics.median(usual)):
                return run.task
        return None

    def _wait(self, seconds: float) -> None:
        """Take in whatever comes first within `seconds`: a shard done, a worker dead, a worker ready."""
        awaited = [*self._running, *self._crew.starting]
        if not self._running and not self._crew.ready:
            seconds = START_S  # all died; one must come back
        done, _ = self._ray.wait(awaited, timeout=seconds)
        if not done and not self._running and not self._crew.ready:
            raise MmcacheError(
                f"no worker is left, and none could be started within {START_S:.0f} s; `ray status` shows what the "
                "cluster has. Finished shards are kept; the same command goes on."
            )
        for reference in done:
            if reference in self._running:
                self._finish(reference)
            elif reference in self._crew.starting:
                self._crew.arrived(reference)

    def _finish(self, reference: Any) -> None:
        run = self._running.pop(reference)
        try:
            self._settled[run.task.modality] += get(self._ray, reference)
        except self._crew.deaths as error:
            self._crew.lose(run.worker)
            if run.key in {other.key for other in self._running.values()}:
                return  # another worker has it too
            self._attempts[run.key] += 1
            if self._attempts[run.key] == _ATTEMPTS:
                raise MmcacheError(
                    f"the worker died {_ATTEMPTS} times on shard {run.task.shard} of {run.task.modality}, perhaps for "
                    "want of memory: try a smaller --batch-size or fewer --workers. Finished shards are kept."
                ) from error
            self._tasks.append(run.task)
            return
        self._seconds[run.task.modality].append(time.monotonic() - run.began)
        for late, other in list(self._running.items()):
            if other.key == run.key:
                del self._running[late]
                self._crew.remove(other.worker)

    def _under_way(self) -> Counter[str]:
        """Segments done of the shards being worked on; a worker that is slow to answer is not waited for."""
        asked = {run.worker.actor.progress.remote(): run for run in self._running.values()}
        answered, _ = self._ray.wait(list(asked), num_returns=len(asked), timeout=_POLL_S) if asked else ([], [])
        done: dict[Key, int] = {}
        for reference in answered:
            try:
                key = asked[reference].key
                done[key] = max(done.get(key, 0), self._ray.get(reference))
            except self._crew.deaths:
                continue  # its shard's own reference reports the death
        out: Counter[str] = Counter()
        for (modality, _), count in done.items():
            out[modality] += count
        return out

    def _stop(self) -> None:
        """Have every worker keep the part of its shard that is done. A second Ctrl-C does not wait for it."""
        try:
            for run in self._running.values():
                run.worker.actor.stop.remote()
            done, _ = self._ray.wait(list(self._running), num_returns=len(self._running), timeout=_FINISH_S)
            for reference in done:
                try:
                    self._settled[self._running[reference].task.modality] += self._ray.get(reference)
                except self._ray.exceptions.RayError:
                    continue  # it is lost, as the run is
            self._progress.update(dict(self._settled))
        except KeyboardInterrupt:
            return
