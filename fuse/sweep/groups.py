"""The unit of work is a group of trials that one worker trains in one process: which, and how."""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmcache.common.plugins import PluginRecord
from mmcache.fuse.options.components import load_records
from mmcache.fuse.options.options import Options
from mmcache.fuse.options.saved import options_from
from mmcache.fuse.packing import pack_groups, train_pack
from mmcache.fuse.runs.progress import Progress
from mmcache.fuse.sweep.trials import Trial
from mmcache.fuse.teachers.compute import cache_logits
from mmcache.fuse.training.device import usable_device
from mmcache.fuse.training.train import RunRequest, TrainedRun
from mmcache.store.feature_store import FeatureStore
from mmcache.store.ground.errors import MmcacheError
from mmcache.store.ground.lock import writer_lock

_WAIT_S = 3600.0  # for another worker that caches a teacher's logits in the same store
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
    keys = [f"{trial.options.store} {trial.role} {bool(trial.teachers)}" for trial in trials]
    groups: list[list[Trial]] = []
    for key in dict.fromkeys(keys):
        alike = [trial for trial, own in zip(trials, keys, strict=True) if own == key]
        groups += [[alike[i] for i in group] for group in pack_groups([_packed(trial) for trial in alike], largest)]
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
        progress_of: the progress of a run. What it raises that is no Exception ends the group.
        always: train as one even if one after another would be faster.

    Yields:
        Each request with its run, or with what went wrong.
    """
    for members in pack_groups([(request.options, len(request.teachers)) for request in requests]):
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
                    cache_logits(
                        run, _store(request, open_store), usable_device(request.options.run.device), wait_s=_WAIT_S
                    )
                ready.append(request)
            except Exception as error:
                yield request, error
        try:
            asked = [
                RunRequest(
                    request.options,
                    request.identity,
                    request.folder,
                    _store(request, open_store),
                    request.teachers,
                    request.init_from,
                    request.notes,
                )
                for request in ready
            ]
            outcomes = list(train_pack(asked, [progress_of(request) for request in ready], always=always))
        except Exception as error:
            outcomes = [error] * len(ready)  # type: ignore[list-item]
        for request, outcome in zip(ready, outcomes, strict=True):
            if request.teaches and isinstance(outcome, TrainedRun):
                try:
                    _cache_own(request, outcome, _store(request, open_store), progress_of(request))
                except Exception as error:
                    yield request, error
                    continue
            yield request, outcome


def _store(request: "Request", open_store: Callable[[Path, str | None], FeatureStore]) -> FeatureStore:
    return open_store(request.store, request.options.data.protocol)


def _cache_own(request: "Request", trained: TrainedRun, store: FeatureStore, progress: Progress) -> None:
    progress.stage("logits for the runs that learn from it", [])
    cache_logits(trained.path, store, usable_device(request.options.run.device), wait_s=_WAIT_S)


@dataclasses.dataclass(frozen=True)
class Request:
    """A trial as it travels to a worker.

    Attributes:
        teaches: whether others learn from it: its logits are cached by the worker that trained it.
        stoppable: whether it may be stopped early: no other trial builds on it.
    """

    identity: str
    options: Options
    teachers: tuple[Path, ...]
    init_from: Path | None
    notes: tuple[str, ...]
    teaches: bool
    stoppable: bool

    @property
    def store(self) -> Path:
        return self.options.store

    @property
    def folder(self) -> Path:
        assert self.options.run.out is not None
        return self.options.run.out

    @classmethod
    def of(cls, trial: Trial, trials: Mapping[str, Trial]) -> "Request":
        """`trials`: all of the sweep's, by identity."""
        run = trial.run
        teachers = (*(trials[name].folder for name in trial.teachers), *run.given)
        start = trials[run.init_from.identity].folder if run.init_from is not None else run.options.run.init_from
        options = run.options
        if options.teacher is not None and teachers:
            options = options.replace(teacher=teachers[0] if len(teachers) == 1 else list(teachers))
        if start is not None:
            options = options.replace(init_from=start)
        teaches = any(trial.identity in other.teachers for other in trials.values())
        stoppable = not any(trial.identity in other.needs for other in trials.values())
        return cls(trial.identity, options, teachers, start, run.notes, teaches, stoppable)


def pack_requests(requests: Sequence[Request]) -> str:
    """As JSON."""
    plain = []
    for request in requests:
        values = {field.name: getattr(request, field.name) for field in dataclasses.fields(request)}
        plugins = {kind: dataclasses.asdict(record) for kind, record in request.options.components.plugins.items()}
        plain.append({**values, "options": request.options.nested(), "plugins": plugins})
    return json.dumps(plain, default=str)


def unpack_requests(text: str) -> list[Request]:
    """What pack_requests packed, with the plugins that the sweep's command line named."""
    return [_unpacked(**values) for values in json.loads(text)]


def _unpacked(
    options: dict[str, Any],
    plugins: dict[str, dict[str, str]],
    teachers: list[str],
    init_from: str | None,
    notes: list[str],
    **rest: Any,
) -> Request:
    load_records({kind: PluginRecord(**record) for kind, record in plugins.items()})
    found = options_from(options, plugins)
    assert found is not None
    return Request(
        options=found,
        teachers=tuple(Path(run) for run in teachers),
        init_from=Path(init_from) if init_from is not None else None,
        notes=tuple(notes),
        **rest,
    )


def _packed(trial: Trial) -> tuple[Options, int]:
    """What decides whether a trial trains with others: its options, and how many teachers it has."""
    return trial.options, len(trial.teachers) + len(trial.run.given)


def reason_of(error: Exception) -> str:
    """Why a trial failed, in one line."""
    text = " ".join(str(error).split())
    return text if isinstance(error, (MmcacheError, OSError)) else f"{type(error).__name__}: {text}"
