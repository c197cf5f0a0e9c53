"""Deal shards to workers until none is left: dead workers are replaced, stragglers overtaken, Ctrl-C heeded."""

import dataclasses
import statistics
import time
from collections import Counter, defaultdict, deque
from typing import Any, Protocol

from mmcache.extract.media.base.source import Source
from mmcache.extract.run.shard_recovery import Death, ShardCase, Step, Trial
from mmcache.extract.run.worker import ShardTask
from mmcache.extract.run.worker_pool import START_S, Crew, Worker, get
from mmcache.store.ground.errors import MmcacheError

_POLL_S = 0.3
_SLOW = 2.0  # times the usual time of a shard, after which an idle worker does it too
_SLOW_AT_LEAST_S = 5.0
_SILENT_S = 600.0  # after which a worker that does not say how far it is counts as dead
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


@dataclasses.dataclass(eq=False)
class _Run:
    """One worker at one step of a shard.

    Attributes:
        whole: whether the step is all of the shard.
        began, heard: when it was handed out, and when the worker last answered; on the monotonic clock.
        asked: the question how far it is, where that is not answered yet.
        done: segments done, as last heard.
    """

    worker: Worker
    case: ShardCase
    step: Step
    whole: bool
    began: float
    heard: float
    asked: Any = None
    done: int = 0

    @property
    def modality(self) -> str:
        return self.case.task.modality


class Dispatch:
    """Runs tasks on a crew. Whoever finishes a shard first has done it: all give the same bytes."""

    def __init__(self, ray: Any, crew: Crew, tasks: list[ShardTask], progress: Progress) -> None:
        self._ray, self._crew, self._progress = ray, crew, progress
        blamed: set[Source] = set()
        self._cases = deque(ShardCase(task, blamed) for task in tasks)  # those that no worker has at the moment
        self._running: dict[Any, _Run] = {}
        self._settled: Counter[str] = Counter()
        self._seconds: defaultdict[str, list[float]] = defaultdict(list)  # modality -> those of finished shards

    def run(self) -> bool:
        """Whether all was done; if not, the run was interrupted, and what was done until then is kept.

        Raises:
            MmcacheError: the workers keep dying on one shard, or none is left; or what a worker raised.
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
        """Give every idle worker a step: of the next shard, or at the end of one that takes too long elsewhere."""
        busy = {run.worker for run in self._running.values()}
        for worker in [worker for worker in self._crew.ready if worker not in busy]:
            if any(run.step.quiet for run in self._running.values()):
                return
            if not self._cases:
                late = self._straggling()
                if late is None:
                    return
                self._begin(worker, late.case)
            elif self._cases[0].next().quiet and self._running:
                return  # the others end first
            else:
                self._begin(worker, self._cases.popleft())

    def _begin(self, worker: Worker, case: ShardCase) -> None:
        step, now = case.next(), time.monotonic()
        call = {Trial.RUN: worker.actor.run, Trial.ALONE: worker.actor.measure, Trial.CONTROL: worker.actor.control}
        self._running[call[step.trial].remote(step.task)] = _Run(worker, case, step, case.is_whole, now, now)

    def _straggling(self) -> _Run | None:
        """The shard that has run longest, where that is far longer than its like took and it is not done twice yet."""
        copies = Counter(run.case for run in self._running.values())
        for run in sorted(self._running.values(), key=lambda run: run.began):
            usual = self._seconds[run.modality]
            if not usual or copies[run.case] > 1 or run.step.trial is not Trial.RUN:
                continue
            if time.monotonic() - run.began > max(_SLOW_AT_LEAST_S, _SLOW * statistics.median(usual)):
                return run
        return None

    def _wait(self, seconds: float) -> None:
        """Take in whatever comes first within `seconds`: a step done, a worker dead, a worker ready."""
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
            result = get(self._ray, reference)
        except self._crew.deaths:
            death = self._crew.bury(run.worker)
            if run.case not in {other.case for other in self._running.values()}:  # else another worker has it too
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

    def _remove(self, case: ShardCase) -> None:
        """Kill the workers that are at a shard, and wait until they can write no more."""
        for reference, run in list(self._running.items()):
            if run.case is case:
                del self._running[reference]
                self._crew.remove(run.worker)

    def _under_way(self) -> Counter[str]:
        """Segments done of the shards being worked on; a worker that is slow to answer is not waited for."""
        for run in self._running.values():
            run.asked = run.asked or run.worker.actor.progress.remote()
        asked = {run.asked: run for run in self._running.values()}
        answered, _ = self._ray.wait(list(asked), num_returns=len(asked), timeout=_POLL_S) if asked else ([], [])
        for reference in answered:
            run = asked[reference]
            run.asked = None
            try:
                run.done, overdue = self._ray.get(reference)
            except self._crew.deaths:
                continue  # its shard's own reference reports the death
            run.heard = time.monotonic()
            if overdue:
                limit = f"{run.step.task.patience_s / 60:.0f} min and a second for each MB"
                self._give_up(run, Death(f"does not end within {limit}", certain=True, suspects=overdue))
        for run in list(self._running.values()):
            if time.monotonic() - run.heard > _SILENT_S:
                self._give_up(run, Death("stops the process"))
        done: dict[ShardCase, int] = {}
        for run in self._running.values():
            if run.step.trial is Trial.RUN:
                done[run.case] = max(done.get(run.case, 0), run.done)
        out: Counter[str] = Counter()
        for case, count in done.items():
            out[case.task.modality] += count
        return out

    def _give_up(self, run: _Run, death: Death) -> None:
        """End a step that hangs, with whoever else is at that shard."""
        if run in self._running.values():
            self._remove(run.case)
            run.case.died(death)
            self._cases.append(run.case)

    def _stop(self) -> None:
        """Have every worker keep the part of its shard that is done. A second Ctrl-C does not wait for it."""
        try:
            for run in self._running.values():
                run.worker.actor.stop.remote()
            done, _ = self._ray.wait(list(self._running), num_returns=len(self._running), timeout=_FINISH_S)
            for reference in done:
                try:
                    if self._running[reference].step.trial is Trial.RUN:
                        self._settled[self._running[reference].modality] += self._ray.get(reference)
                except self._ray.exceptions.RayError:
                    continue  # it is lost, as the run is
            self._progress.update(dict(self._settled))
        except KeyboardInterrupt:
            return
