"""Hand shards to workers until all are done; replace dead workers, duplicate slow shards, and stop on Ctrl-C."""

import dataclasses
import statistics
import time
from collections import Counter, defaultdict, deque
from typing import Any, Protocol

from mmcache.extract.media.base.source import Source
from mmcache.extract.run.shard_recovery import Death, ShardRecovery, Step, Trial
from mmcache.extract.run.worker import ShardTask
from mmcache.extract.run.worker_pool import START_S, Worker, WorkerPool, get
from mmcache.store.ground.errors import MmcacheError

_POLL_S = 0.3
_SLOW = 2.0  # times the usual time of a shard, after which an idle worker does it too
_SLOW_AT_LEAST_S = 5.0
_SILENT_S = 600.0  # a worker that does not report progress for this long counts as dead
_FINISH_S = 60.0  # how long workers may take to write finished segments after the run is stopped


class Progress(Protocol):
    """Receives the progress of a run, for example to draw bars."""

    def start(self, totals: dict[str, int]) -> None:
        """Modality -> segments to settle."""

    def expect(self, seconds: dict[str, float]) -> None:
        """Modality -> how long it will take, as measured on its first segments, before the start of a longer run."""

    def update(self, done: dict[str, int]) -> None:
        """Modality -> segments settled so far."""

    def stop(self) -> None:
        """The run has ended, with or without an error."""


class NoProgress:
    """Progress that shows nothing."""

    def start(self, totals: dict[str, int]) -> None:
        return None

    def expect(self, seconds: dict[str, float]) -> None:
        return None

    def update(self, done: dict[str, int]) -> None:
        return None

    def stop(self) -> None:
        return None


@dataclasses.dataclass(eq=False)
class _Run:
    """A step of a shard that a worker is running.

    Attributes:
        whole: whether the step is all of the shard.
        began, answered: when the step started, and when the worker last answered, in seconds of the monotonic clock.
        asked: the pending request for progress, if any.
        done: segments done, by the last answer.
    """

    worker: Worker
    case: ShardRecovery
    step: Step
    whole: bool
    began: float
    answered: float
    asked: Any = None
    done: int = 0

    @property
    def modality(self) -> str:
        return self.case.task.modality


class Dispatch:
    """Runs tasks on a pool of workers. Two workers may run one shard: they write the same bytes, the first counts."""

    def __init__(self, ray: Any, pool: WorkerPool, tasks: list[ShardTask], progress: Progress) -> None:
        self._ray, self._pool, self._progress = ray, pool, progress
        fatal_media: set[Source] = set()
        self._cases = deque(ShardRecovery(task, fatal_media) for task in tasks)  # shards that no worker is running
        self._running: dict[Any, _Run] = {}
        self._settled: Counter[str] = Counter()
        self._seconds: defaultdict[str, list[float]] = defaultdict(list)  # modality -> seconds of finished shards

    def run(self) -> bool:
        """Run all tasks. Returns False if interrupted; finished segments are kept.

        Raises:
            MmcacheError: workers keep dying on one shard, no worker is left, or a worker raised an error.
        """
        try:
            while self._cases or self._running:
                self._hand_out()
                self._wait(_POLL_S)
                self._progress.update(dict(self._settled + self._under_way()))
        except KeyboardInterrupt:
            self._stop()
            return False
        return True

    def _hand_out(self) -> None:
        """Give every idle worker a step: of the next shard or, when none is left, of a slow shard of another worker."""
        busy = {run.worker for run in self._running.values()}
        for worker in [worker for worker in self._pool.ready if worker not in busy]:
            if any(run.step.quiet for run in self._running.values()):
                return
            if not self._cases:
                late = self._straggling()
                if late is None:
                    return
                self._begin(worker, late.case)
            elif self._cases[0].next().quiet and self._running:
                return  # until the other workers finish
            else:
                self._begin(worker, self._cases.popleft())

    def _begin(self, worker: Worker, case: ShardRecovery) -> None:
        step, now = case.next(), time.monotonic()
        call = {Trial.RUN: worker.actor.run, Trial.ALONE: worker.actor.measure, Trial.CONTROL: worker.actor.control}
        self._running[call[step.trial].remote(step.task)] = _Run(worker, case, step, case.is_whole, now, now)

    def _straggling(self) -> _Run | None:
        """The longest-running shard, if it takes much longer than others did and only one worker runs it."""
        copies = Counter(run.case for run in self._running.values())
        for run in sorted(self._running.values(), key=lambda run: run.began):
            usual = self._seconds[run.modality]
            if not usual or copies[run.case] > 1 or run.step.trial is not Trial.RUN:
                continue
            if time.monotonic() - run.began > max(_SLOW_AT_LEAST_S, _SLOW * statistics.median(usual)):
                return run
        return None

    def _wait(self, seconds: float) -> None:
        """Wait up to `seconds` for finished steps, dead workers and new workers, and handle them."""
        awaited = [*self._running, *self._pool.starting]
        if not self._running and not self._pool.ready:
            seconds = START_S  # all workers died; wait for a new one
        done, _ = self._ray.wait(awaited, timeout=seconds)
        if not done and not self._running and not self._pool.ready:
            raise MmcacheError(
                f"no worker is left, and none could be started within {START_S:.0f} s; `ray status` shows what the "
                "cluster has. Finished shards are kept; the same command goes on."
            )
        for reference in done:
            if reference in self._running:
                self._finish(reference)
            elif reference in self._pool.starting:
                self._pool.arrived(reference)

    def _finish(self, reference: Any) -> None:
        run = self._running.pop(reference)
        try:
            result = get(self._ray, reference)
        except self._pool.deaths:
            death = self._pool.replace_dead(run.worker)
            if run.case not in {other.case for other in self._running.values()}:  # no other worker runs this shard
                run.case.died(death)
                self._cases.append(run.case)
            return
        if run.step.trial is Trial.RUN:
            self._settled[run.modality] += result
        if run.whole:
            self._seconds[run.modality].append(time.monotonic() - run.began)
        self._remove(run.case)
        run.case.passed()
        if not run.case.is_done:
            self._cases.append(run.case)

    def _remove(self, case: ShardRecovery) -> None:
        """Kill the workers that run a shard, and wait until they can no longer write."""
        for reference, run in list(self._running.items()):
            if run.case is case:
                del self._running[reference]
                self._pool.remove(run.worker)

    def _under_way(self) -> Counter[str]:
        """Segments done of the running shards, by modality. Does not wait for slow answers."""
        for run in self._running.values():
            run.asked = run.asked or run.worker.actor.progress.remote()
        asked = {run.asked: run for run in self._running.values()}
        answered, _ = self._ray.wait(list(asked), num_returns=len(asked), timeout=_POLL_S) if asked else ([], [])
        for reference in answered:
            run = asked[reference]
            run.asked = None
            try:
                run.done, overdue = self._ray.get(reference)
            except self._pool.deaths:
                continue  # its shard's own reference reports the death
            run.answered = time.monotonic()
            if overdue:
                limit = f"{run.step.task.patience_s / 60:.0f} min and a second for each MB"
                self._give_up(run, Death(f"does not end within {limit}", certain=True, suspects=overdue))
        for run in list(self._running.values()):
            if time.monotonic() - run.answered > _SILENT_S:
                self._give_up(run, Death("stops the process"))
        done: dict[ShardRecovery, int] = {}
        for run in self._running.values():
            if run.step.trial is Trial.RUN:
                done[run.case] = max(done.get(run.case, 0), run.done)
        out: Counter[str] = Counter()
        for case, count in done.items():
            out[case.task.modality] += count
        return out

    def _give_up(self, run: _Run, death: Death) -> None:
        """Stop a step that hangs, and all other workers on its shard."""
        if run in self._running.values():
            self._remove(run.case)
            run.case.died(death)
            self._cases.append(run.case)

    def _stop(self) -> None:
        """Let every worker write what it has finished. A second Ctrl-C skips this."""
        try:
            for run in self._running.values():
                run.worker.actor.stop.remote()
            done, _ = self._ray.wait(list(self._running), num_returns=len(self._running), timeout=_FINISH_S)
            for reference in done:
                try:
                    if self._running[reference].step.trial is Trial.RUN:
                        self._settled[self._running[reference].modality] += self._ray.get(reference)
                except self._ray.exceptions.RayError:
                    continue  # the worker died; its segments stay to do
            self._progress.update(dict(self._settled))
        except KeyboardInterrupt:
            return
