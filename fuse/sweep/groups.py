"""The unit of work is a group of trials that one worker trains in one process: which, and how."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmcache.fuse.config import FuseConfig
from mmcache.fuse.device import usable_device
from mmcache.fuse.progress import Progress
from mmcache.fuse.sweep.trials import Trial
from mmcache.fuse.teacher import cache_answers
from mmcache.fuse.training import RunRequest, TrainedRun, train_run
from mmcache.store.errors import MmcacheError
from mmcache.store.feature_store import FeatureStore
from mmcache.store.lock import writer_lock

_WAIT_S = 3600.0  # for another worker that caches a teacher's answers in the same store
_GONE_S = 120.0  # for a worker of a killed sweep that is still at the same run
AUTO, OFF = "auto", "off"


def form_groups(trials: Sequence[Trial], pack: str | int) -> list[list[Trial]]:
    """Deal trials that are ready to groups.

    Args:
        pack: how many go together at most; auto and off = each alone.
    """
    size = pack if isinstance(pack, int) else 1
    return [list(trials[i : i + size]) for i in range(0, len(trials), size)]


def run_group(
    requests: Sequence["Request"],
    open_store: Callable[[Path, str | None], FeatureStore],
    progress_of: Callable[["Request"], Progress],
) -> Iterator[tuple["Request", TrainedRun | Exception]]:
    """Train a group, one after another in this process; what goes wrong in one stops none of the others.

    Args:
        open_store: (path, protocol) -> store, with what is in memory of it.
        progress_of: who is told how far a run is. What it raises that is no Exception ends the group.

    Yields:
        Each request with its run, or with what went wrong, as soon as it has ended.
    """
    for request in requests:
        try:
            yield request, _run(request, open_store(request.store, request.config.protocol), progress_of(request))
        except Exception as error:
            yield request, error


def _run(request: "Request", store: FeatureStore, progress: Progress) -> TrainedRun:
    config = request.config
    device = usable_device(config.device)
    with writer_lock(request.folder, _GONE_S):
        for run in request.teachers:
            cache_answers(run, store, device, wait_s=_WAIT_S)
        trained = train_run(RunRequest(config, store, request.teachers, request.start), progress)
        if request.answers:
            progress.stage("answers", [])
            cache_answers(trained.path, store, device, wait_s=_WAIT_S)
    return trained


@dataclasses.dataclass(frozen=True)
class Request:
    """A trial as it travels to a worker."""

    identity: str
    config: FuseConfig
    teachers: tuple[Path, ...]
    start: Path | None
    answers: bool  # whether others learn from it: its answers are cached while one is at it
    stoppable: bool  # whether it may be stopped early: nothing builds on it

    @property
    def store(self) -> Path:
        assert self.config.store is not None
        return self.config.store

    @property
    def folder(self) -> Path:
        assert self.config.out is not None
        return self.config.out

    @classmethod
    def of(cls, trial: Trial, trials: Mapping[str, Trial]) -> "Request":
        """`trials`: all of the sweep's, by identity."""
        teachers = (*(trials[name].folder for name in trial.teachers), *trial.given)
        start = trials[trial.start].folder if trial.start is not None else trial.config.start
        answers = any(trial.identity in other.teachers for other in trials.values())
        stoppable = not any(trial.identity in other.needs for other in trials.values())
        return cls(trial.identity, trial.config, teachers, start, answers, stoppable)


def pack_requests(requests: Sequence[Request]) -> str:
    """As JSON."""
    return json.dumps([dataclasses.asdict(request) for request in requests], default=str)


def unpack_requests(text: str) -> list[Request]:
    return [_unpacked(**values) for values in json.loads(text)]


def _unpacked(config: dict[str, Any], teachers: list[str], start: str | None, **rest: Any) -> Request:
    return Request(
        config=FuseConfig(**config),
        teachers=tuple(Path(run) for run in teachers),
        start=Path(start) if start is not None else None,
        **rest,
    )


def reason_of(error: Exception) -> str:
    """Why a trial failed, in one line."""
    text = " ".join(str(error).split())
    return text if isinstance(error, (MmcacheError, OSError)) else f"{type(error).__name__}: {text}"
