"""Train a strategy on a store: plan the runs, then train them in order, those that others build on first."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmcache.fuse.evaluation.evaluate import evaluate
from mmcache.fuse.options.options import Options
from mmcache.fuse.options.recipes import PUBLISHED
from mmcache.fuse.options.resolve import Layers
from mmcache.fuse.runs.folder import RunFolder, own_randomness
from mmcache.fuse.runs.lock import writing_run
from mmcache.fuse.runs.progress import Progress, Silent
from mmcache.fuse.teachers.gather import gather_signals
from mmcache.fuse.training.device import usable_device
from mmcache.fuse.training.loop import Training
from mmcache.fuse.training.plan import FLAGS, PlannedRun, plan_run
from mmcache.fuse.training.store_checks import modalities_of
from mmcache.fuse.training.stores import Stores
from mmcache.store.feature_store import FeatureStore
from mmcache.store.ground.errors import ConfigError
from mmcache.store.load.loader import Loader


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """A finished run.

    Attributes:
        path: its folder.
        result: in the form of `evaluate --json`.
        was_finished: whether it was finished before.
        teachers: the runs that were trained first, for it to learn from.
        init_from: the run that was trained first, for it to start from.
    """

    path: Path
    result: dict[str, Any]
    was_finished: bool
    teachers: tuple["TrainedRun", ...] = ()
    init_from: "TrainedRun | None" = None

    @property
    def teacher(self) -> "TrainedRun | None":
        """The first of the teachers."""
        return self.teachers[0] if self.teachers else None


@dataclasses.dataclass(frozen=True)
class RunRequest:
    """One run to train, or to continue, or to find finished, now that all that it builds on is finished.

    Attributes:
        path: its folder.
        teachers: runs to learn from; several are an ensemble.
        init_from: a run whose weights it starts from.
        notes: what a person should know of it before it starts.
    """

    options: Options
    identity: str
    path: Path
    store: FeatureStore
    teachers: tuple[Path, ...] = ()
    init_from: Path | None = None
    notes: tuple[str, ...] = ()


def train(
    strategy: str,
    options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    recipe: str = PUBLISHED,
) -> TrainedRun:
    """Train a strategy, its teachers first where it has any.

    Args:
        strategy: a name of STRATEGIES, or a plugin.
        options: option -> value, over those of the recipe.
        recipe: published or matched.

    Raises:
        ConfigError: options are wrong or do not fit the store.
    """
    return train_layers(strategy, {FLAGS: options or {}}, progress or Silent(), recipe)


def train_layers(
    strategy: str, layers: Layers, progress: Progress, recipe: str = PUBLISHED, *, resume: bool = False
) -> TrainedRun:
    """As `train`, with options in layers (see plan_run); `resume` insists that the run was begun before."""
    stores = Stores()
    planned = plan_run(strategy, layers, recipe, stores)
    if planned.notes:
        progress.stage("before the start", list(planned.notes))
    return execute(planned, stores, progress, resume=resume)


def execute(
    planned: PlannedRun, stores: Stores, progress: Progress, *, resume: bool = False, patient: bool = False
) -> TrainedRun:
    """Train a planned run and everything that it needs first, or continue it, or find it finished.

    Args:
        resume: insist that it was begun before.
        patient: wait for another process that is training the same run; else that is an error.

    Raises:
        ConfigError: its folder holds something else.
        InUseError: another process is training the run.
    """
    with writing_run(planned.folder, progress if patient else None):  # its teachers are trained under its lock
        folder = RunFolder(planned.folder, planned.identity)
        if resume and not folder.begun:
            raise ConfigError(
                f"--resume: no run of these options was begun in {folder.path}. Leave --resume out to begin it, or "
                "give the options (and --out) that it was begun with."
            )
        teachers = tuple(execute(run, stores, progress, resume=resume, patient=True) for run in planned.teachers)
        first = planned.init_from
        start = execute(first, stores, progress, resume=resume, patient=True) if first is not None else None
        store = stores.open(planned.options.store, planned.options.data.protocol)
        runs = (*(run.path for run in teachers), *planned.given)
        request = make_request(planned, store, runs, start.path if start is not None else None)
        return dataclasses.replace(train_one(request, progress), teachers=teachers, init_from=start)


def make_request(
    planned: PlannedRun, store: FeatureStore, teachers: tuple[Path, ...], start: Path | None
) -> RunRequest:
    """The request for a planned run.

    Args:
        teachers: the runs that it learns from.
        start: the run that was trained first for it to start from, if any.
    """
    options = planned.options
    start = start or options.run.init_from
    if options.teacher is not None and teachers:
        options = options.replace(teacher=teachers[0] if len(teachers) == 1 else list(teachers))
    if start is not None:
        options = options.replace(init_from=start)
    return RunRequest(options, planned.identity, planned.folder, store, teachers, start, planned.notes)


def train_one(request: RunRequest, progress: Progress) -> TrainedRun:
    """Train one run whose folder this process may write, or find it finished."""
    folder = RunFolder(request.path, request.identity)
    if folder.finished:
        return TrainedRun(folder.path, evaluate(folder.path), was_finished=True)
    with own_randomness():
        result = make_training(request, folder, progress).run()
    return TrainedRun(folder.path, result, was_finished=False)


def make_training(request: RunRequest, folder: RunFolder, progress: Progress, loader: Loader | None = None) -> Training:
    """A run about to be trained.

    Args:
        loader: see Training.
    """
    options, store = request.options, request.store
    device = usable_device(options.run.device)
    return Training(
        options,
        store,
        modalities_of(options, store),
        folder,
        gather_signals(options, store, request.teachers, device, progress) if request.teachers else None,
        device,
        progress,
        request.init_from,
        loader,
        request.notes,
    )
