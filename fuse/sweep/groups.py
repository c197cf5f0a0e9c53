"""The unit of work is a group of trials that one worker trains in one process: which, and how."""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmcache.fuse.config import FuseConfig
from mmcache.fuse.packing import pack_groups, train_pack
from mmcache.fuse.sweep.trials import Trial
from mmcache.fuse.teachers.teacher import cache_answers
from mmcache.fuse.training.device import usable_device
from mmcache.fuse.training.progress import Progress
from mmcache.fuse.training.train import RunRequest, TrainedRun
from mmcache.store.feature_store import FeatureStore
from mmcache.store.ground.errors import MmcacheError
from mmcache.store.ground.lock import writer_lock

_WAIT_S = 3600.0  # for another worker that caches a teacher's answers in the same store
_GONE_S = 120.0  # for a worker of a killed sweep that is still at the same run
AUTO, OFF = "auto", "off"
_LARGEST = 16  # trials that go together by themselves


def form_groups(trials: Sequence[Trial], pack: str | int, at_once: int = 1) -> list[list[Trial]]:
    """Deal trials that are ready to groups: together go those whose networks have one shape (see fuse/packing).

    Args:
        pack: how many go together at most; off = each alone; auto = as many as leave work for every worker.
        at_once: how many workers there are.
    """
    largest = pack if isinstance(pack, int) else 1 if pack == OFF else min(_LARGEST, -(-len(trials) // at_once))
    keys = [f"{trial.config.store} {trial.role} {bool(trial.teachers)}" for trial in trials]
    groups: list[list[Trial]] = []
    for key in dict.fromkeys(keys):
        alike = [trial for trial, own in zip(trials, keys, strict=True) if own == key]
        groups += [[alike[i] for i in group] for group in pack_groups([trial.config for trial in alike], largest)]
    return sorted(groups, key=lambda group: trials.index(group[0]))


def run_group(
    requests: Sequence["Request"],
    open_store: Callable[[Path, str | None], FeatureStore],
    progress_of: Callable[["Request"], Progress],
    always: bool = False,
) -> Iterator[tuple["Request", TrainedRun | Exception]]:
    """Train a group in this process; what goes wrong in one trial stops none of the others.

    Args:
        open_store: (path, protocol) -> store, with what is in memory of it.
        progress_of: who is told how far a run is. What it raises that is no Exception ends the group.
        always: train as one even if one after another would be faster.

    Yields:
        Each request with its run, or with what went wrong.
    """
    for members in pack_groups([request.config for request in requests]):
        yield from _run_alike([requests[i] for i in members], open_store, progress_of, always)


def _run_alike(
    requests: Sequence["Request"],
    open_store: Callable[[Path, str | None], FeatureStore],
    progress_of: Callable[["Request"], Progress],
    always: bool,
) -> Iterator[tuple["Request", TrainedRun | Exception]]:
    """As run_group, for trials that may train as one."""
    ready: list[Request] = []
    with contextlib.ExitStack() as held:
        for request in requests:
            try:
                held.enter_context(writer_lock(request.folder, _GONE_S, "the run"))
                for run in request.teachers:
                    cache_answers(
                        run, _store(request, open_store), usable_device(request.config.device), wait_s=_WAIT_S
                    )
                ready.append(request)
            except Exception as error:
                yield request, error
        try:
            asked = [
                RunRequest(request.config, _store(request, open_store), request.teachers, request.start)
                for request in ready
            ]
            outcomes = list(train_pack(asked, [progress_of(request) for request in ready], always=always))
        except Exception as error:
            outcomes = [error] * len(ready)  # type: ignore[list-item]
        for request, outcome in zip(ready, outcomes, strict=True):
            if request.answers and isinstance(outcome, TrainedRun):
                try:
                    _cache_own(request, outcome, _store(request, open_store), progress_of(request))
                except Exception as error:
                    yield request, error
                    continue
            yield request, outcome


def _store(request: "Request", open_store: Callable[[Path, str | None], FeatureStore]) -> FeatureStore:
    return open_store(request.store, request.config.protocol)


def _cache_own(request: "Request", trained: TrainedRun, store: FeatureStore, progress: Progress) -> None:
    progress.stage("answers", [])
    cache_answers(trained.path, store, usable_device(request.config.device), wait_s=_WAIT_S)


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
