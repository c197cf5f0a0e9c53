"""What is left to do of one shard, step by step: where workers die over it, it is divided until the segment is found.

When a worker dies, its cause of death is not known: the decoder crashed on a file, the kernel ended the worker because
memory ran out, a person typed `kill -9`, or the node was lost. So the shard's work is done again in halves, down to a
single window (the segments that are encoded together). If a worker dies on a single window, its segments are read one
by one. A segment is to blame if two workers die on it alone, while a made-up segment passes through the same encoder:
it becomes a failed segment, and its window is done without it. Work that succeeds the second time is cached as usual.

This module does not use Ray or processes.
"""

import dataclasses
import enum
from collections import defaultdict
from collections.abc import Collection

from mmcache.extract.media.base.source import Source
from mmcache.extract.run.worker import Job, ShardTask
from mmcache.store.ground.errors import MmcacheError

_ALONE = 2  # deaths over one segment read by itself, after which it is to blame
_UNEXPLAINED = 3  # deaths that no segment is to blame for, after which the run is given up


class Trial(enum.Enum):
    """What a step is for."""

    RUN = "encode its windows and write them"
    ALONE = "read and encode one segment by itself, and write nothing"
    CONTROL = "encode a made-up segment, to see that the encoder is not to blame"


@dataclasses.dataclass(frozen=True)
class Step:
    """Work for one worker.

    Attributes:
        task: of ALONE, a window of the one segment; of CONTROL, without windows.
        quiet: whether no other worker may run beside it, because the last death may have been for want of memory.
    """

    trial: Trial
    task: ShardTask
    quiet: bool = False


@dataclasses.dataclass(frozen=True)
class Death:
    """How a worker ended.

    Attributes:
        how: what reading does, for the reason of a failure: "crashes the process (Segmentation fault)".
        certain: whether the worker ended by itself; else something outside may have ended it.
        suspects: rows whose reading did not end, where that is known.
    """

    how: str
    certain: bool = False
    suspects: Collection[int] = ()


class ShardCase:
    """The steps of one shard.

    Args:
        task: all that is to do of it.
        blamed: the media of segments found to kill so far; shared by the cases of a run.
    """

    def __init__(self, task: ShardTask, blamed: set[Source]) -> None:
        self.task = task
        self._blamed_media = blamed
        self._steps = [Step(Trial.RUN, task)]
        self._alone: defaultdict[int, list[Death]] = defaultdict(list)  # row -> of workers that had it alone
        self._passed: set[int] = set()  # rows that were read alone, and no worker died
        self._reasons: dict[int, str] = {}  # row -> why it is failed
        self._unexplained = 0

    @property
    def is_done(self) -> bool:
        return not self._steps

    @property
    def is_whole(self) -> bool:
        """Whether the next step is all of the shard, as it was given."""
        return bool(self._steps) and self._steps[0].task is self.task

    def next(self) -> Step:
        """The step to do now: the same one until `passed` or `died` is called."""
        step = self._steps[0]
        if step.trial is not Trial.RUN:
            return step
        # Other segments of media that were found to kill are likely to do so too: they are read alone at once.
        if suspects := [job for job in self._open(step) if job.source in self._blamed_media]:
            self._steps[0:0] = [self._alone_with(job) for job in suspects]
            return self._steps[0]
        if not self._reasons:
            return step
        windows = tuple(tuple(self._judged(job) for job in window) for window in step.task.windows)
        return dataclasses.replace(step, task=dataclasses.replace(step.task, windows=windows))

    def _judged(self, job: Job) -> Job:
        reason = self._reasons.get(job.row)
        return job if reason is None else dataclasses.replace(job, failed=reason)

    def passed(self) -> None:
        """The step at hand ended well."""
        step = self._steps.pop(0)
        if step.trial is Trial.ALONE:
            self._passed.add(_only_job(step).row)
        elif step.trial is Trial.CONTROL:
            self._blame(_only_job(step))

    def died(self, death: Death) -> None:
        """A worker died, or hung and was killed, over the step at hand.

        Raises:
            MmcacheError: workers keep dying on this shard, and no segment of it is to blame.
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
            self._passed.clear()  # each is looked at again, should the window kill again

    def _open(self, step: Step, rows: Collection[int] | None = None) -> list[Job]:
        """Segments with media on which nothing is known yet, of all or of `rows`."""
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
        # One is enough where another segment of the same media was found to kill.
        needed = 1 if death.certain and job.source in self._blamed_media else _ALONE
        trial = Trial.CONTROL if len(self._alone[job.row]) >= needed else Trial.ALONE
        self._steps[0] = dataclasses.replace(step, trial=trial, quiet=not death.certain)

    def _blame(self, job: Job) -> None:
        assert job.source is not None
        self._blamed_media.add(job.source)
        name = " and ".join(path.name for path in job.source.paths[:2]) or job.segment
        deaths = self._alone[job.row]
        death = next((death for death in deaths if death.certain), deaths[-1])
        times = "once (as with other segments)" if len(deaths) == 1 else "twice"
        self._reasons[job.row] = f"reading {name} {death.how}, seen {times} with nothing else running in it"

    def _count_unexplained(self) -> None:
        self._unexplained += 1
        if self._unexplained == _UNEXPLAINED:
            raise MmcacheError(
                f"workers keep dying on shard {self.task.shard} of {self.task.modality}, and no segment of it is to "
                "blame, perhaps for want of memory: try a smaller --batch-size or fewer --workers. Finished shards "
                "are kept."
            )


def _only_job(step: Step) -> Job:
    return step.task.windows[0][0]
