"""Complete a shard on which workers die: divide it until the segment that kills them is found.

When a worker dies, its cause of death is not known: the decoder crashed on a file, the kernel ended the worker because
memory ran out, a person typed `kill -9`, or the node was lost. So the shard's work is done again in halves, down to a
single window (the segments that are encoded together). If a worker dies on a single window, its segments are read one
by one. If two workers die on one segment alone, while a made-up segment passes through the same encoder, the segment is
the cause: it becomes a failed segment, and its window is done without it. Work that succeeds the second time is cached
as usual.

This module does not use Ray or processes.
"""

import dataclasses
import enum
from collections import defaultdict
from collections.abc import Collection

from mmcache.extract.media.base.source import Source
from mmcache.extract.run.worker import Job, ShardTask
from mmcache.store.ground.errors import MmcacheError

_ALONE = 2  # deaths on one segment read by itself, after which it is marked as failed
_UNEXPLAINED = 3  # deaths that no segment explains, after which the run stops


class Trial(enum.Enum):
    """The purpose of a step."""

    RUN = "encode its windows and write them"
    ALONE = "read and encode one segment by itself, and write nothing"
    CONTROL = "encode a made-up segment, to check that the encoder is not the cause"


@dataclasses.dataclass(frozen=True)
class Step:
    """Work for one worker.

    Attributes:
        task: for ALONE, one window with the one segment; for CONTROL, no windows.
        quiet: whether no other worker may run at the same time, because memory may have run out.
    """

    trial: Trial
    task: ShardTask
    quiet: bool = False


@dataclasses.dataclass(frozen=True)
class Death:
    """How a worker died.

    Attributes:
        how: a verb phrase for the failure's reason: "crashes the process (Segmentation fault)".
        certain: whether the process crashed by itself; otherwise another program may have ended it.
        suspects: rows whose reading did not finish, if known.
    """

    how: str
    certain: bool = False
    suspects: Collection[int] = ()


class ShardRecovery:
    """The steps that complete one shard.

    Args:
        task: all windows of the shard.
        fatal_media: media on which workers died, shared by all shards of a run.
    """

    def __init__(self, task: ShardTask, fatal_media: set[Source]) -> None:
        self.task = task
        self._fatal_media = fatal_media
        self._steps = [Step(Trial.RUN, task)]
        self._alone: defaultdict[int, list[Death]] = defaultdict(list)  # row -> deaths of workers that read it alone
        self._passed: set[int] = set()  # rows that were read alone without a death
        self._reasons: dict[int, str] = {}  # row -> reason of failure
        self._unexplained = 0

    @property
    def is_done(self) -> bool:
        return not self._steps

    @property
    def is_whole(self) -> bool:
        """Whether the next step is the whole shard."""
        return bool(self._steps) and self._steps[0].task is self.task

    def next(self) -> Step:
        """The current step; it changes when `passed` or `died` is called."""
        step = self._steps[0]
        if step.trial is not Trial.RUN:
            return step
        # Other segments of the same media probably kill workers too: read them alone at once.
        if suspects := [job for job in self._open(step) if job.source in self._fatal_media]:
            self._steps[0:0] = [self._alone_with(job) for job in suspects]
            return self._steps[0]
        if not self._reasons:
            return step
        windows = tuple(tuple(self._with_reason(job) for job in window) for window in step.task.windows)
        return dataclasses.replace(step, task=dataclasses.replace(step.task, windows=windows))

    def _with_reason(self, job: Job) -> Job:
        reason = self._reasons.get(job.row)
        return job if reason is None else dataclasses.replace(job, failed=reason)

    def passed(self) -> None:
        """The current step succeeded."""
        step = self._steps.pop(0)
        if step.trial is Trial.ALONE:
            self._passed.add(_only_job(step).row)
        elif step.trial is Trial.CONTROL:
            self._mark_failed(_only_job(step))

    def died(self, death: Death) -> None:
        """A worker died on the current step, or hung and was killed.

        Raises:
            MmcacheError: workers keep dying on this shard, and no segment explains it.
        """
        step = self._steps[0]
        if step.trial is Trial.CONTROL:
            self._count_unexplained()
        elif step.trial is Trial.ALONE:
            self._died_alone(step, death)
        elif suspects := self._open(step, death.suspects):
            self._steps[0:0] = [self._alone_with(job) for job in suspects]
        elif len(step.task.windows) > 1:
            middle = len(step.task.windows) // 2
            halves = step.task.windows[:middle], step.task.windows[middle:]
            self._steps[0:1] = [
                dataclasses.replace(step, task=dataclasses.replace(step.task, windows=half)) for half in halves
            ]
        elif suspects := self._open(step):
            self._steps[0:0] = [self._alone_with(job) for job in suspects]
        else:
            self._count_unexplained()
            self._passed.clear()  # test each segment again if the window kills again

    def _open(self, step: Step, rows: Collection[int] | None = None) -> list[Job]:
        """Segments with media that have neither passed nor failed alone, among all or among `rows`."""
        return [
            job
            for window in step.task.windows
            for job in window
            if job.source is not None
            and (rows is None or job.row in rows)
            and job.row not in self._passed
            and job.row not in self._reasons
        ]

    def _alone_with(self, job: Job) -> Step:
        return Step(Trial.ALONE, dataclasses.replace(self.task, windows=((job,),)))

    def _died_alone(self, step: Step, death: Death) -> None:
        job = _only_job(step)
        self._alone[job.row].append(death)
        # One death is enough if another segment of the same media has killed workers.
        needed = 1 if death.certain and job.source in self._fatal_media else _ALONE
        trial = Trial.CONTROL if len(self._alone[job.row]) >= needed else Trial.ALONE
        self._steps[0] = dataclasses.replace(step, trial=trial, quiet=not death.certain)

    def _mark_failed(self, job: Job) -> None:
        assert job.source is not None
        self._fatal_media.add(job.source)
        name = " and ".join(path.name for path in job.source.paths[:2]) or job.segment
        deaths = self._alone[job.row]
        death = next((death for death in deaths if death.certain), deaths[-1])
        times = "once (as with other segments)" if len(deaths) == 1 else "twice"
        self._reasons[job.row] = f"reading {name} {death.how}, seen {times} with nothing else running in it"

    def _count_unexplained(self) -> None:
        self._unexplained += 1
        if self._unexplained == _UNEXPLAINED:
            raise MmcacheError(
                f"workers keep dying on shard {self.task.shard} of {self.task.modality}, and no segment "
                "explains it. Memory may have run out: try a smaller --batch-size or fewer --workers. Finished shards "
                "are kept."
            )


def _only_job(step: Step) -> Job:
    return step.task.windows[0][0]
