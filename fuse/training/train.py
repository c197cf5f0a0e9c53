"""Train a strategy on a store, its teacher first where it has one."""

import contextlib
import dataclasses
import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcache.fuse.config import FuseConfig, start_config, teacher_configs
from mmcache.fuse.data.preflight import look_ahead
from mmcache.fuse.data.reported_split import reported_split
from mmcache.fuse.evaluation.evaluate import evaluate
from mmcache.fuse.network.model import read_run_config
from mmcache.fuse.resolve import ResolvedRun, resolve_run
from mmcache.fuse.strategies import STRATEGIES
from mmcache.fuse.teachers.ensemble import Ensemble
from mmcache.fuse.teachers.known_segments import unlearned
from mmcache.fuse.teachers.teacher import cached_answers, teacher_features, teacher_name
from mmcache.fuse.training.device import usable_device
from mmcache.fuse.training.loop import Training
from mmcache.fuse.training.objective import Teaching
from mmcache.fuse.training.progress import Progress, Silent
from mmcache.fuse.training.run_folder import RunFolder, own_randomness
from mmcache.fuse.training.run_lock import writing_run
from mmcache.store.feature_store import FeatureStore
from mmcache.store.ground.errors import ConfigError, Problems
from mmcache.store.load.loader import Loader


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """A finished run.

    Attributes:
        path: its folder.
        result: in the form of `evaluate --json`.
        was_finished: whether it was there already.
        teachers: the runs that were trained first, for it to learn from.
        start: the run that was trained first, for it to start from.
    """

    path: Path
    result: dict[str, Any]
    was_finished: bool
    teachers: tuple["TrainedRun", ...] = ()
    start: "TrainedRun | None" = None

    @property
    def teacher(self) -> "TrainedRun | None":
        """The first of the teachers."""
        return self.teachers[0] if self.teachers else None


def train(strategy: str, options: Mapping[str, Any] | None = None, progress: Progress | None = None) -> TrainedRun:
    """Train a named strategy, its teacher first where it has one.

    Args:
        strategy: a name of STRATEGIES.
        options: FuseConfig options that override the strategy's preset.

    Raises:
        ConfigError: options are wrong or do not fit the store.
    """
    return train_layers(strategy, {"flags": options or {}}, progress or Silent())


def train_layers(
    strategy: str, layers: Mapping[str, Mapping[str, Any]], progress: Progress, *, resume: bool = False
) -> TrainedRun:
    """As `train`, with options in layers (see settings.resolve); `resume` insists that the run was begun before."""
    resolved = resolve_run(strategy, layers)
    _check_first(resolved)
    out = resolved.config.out
    with writing_run(out) if out is not None else contextlib.nullcontext():  # its teachers are trained first
        request, before, begun = _request(resolved, progress, resume)
        trained = (train_run if out is None else train_held)(request, progress)
    return dataclasses.replace(trained, teachers=before, start=begun)


def request_run(
    strategy: str, layers: Mapping[str, Mapping[str, Any]], progress: Progress, *, resume: bool = False
) -> tuple["RunRequest", tuple[TrainedRun, ...], TrainedRun | None]:
    """A run ready to be trained, with the teachers and the start that it needs and that were trained for it."""
    resolved = resolve_run(strategy, layers)
    _check_first(resolved)
    return _request(resolved, progress, resume)


def _check_first(resolved: ResolvedRun) -> None:
    """Raise ConfigError where a run could not be trained or evaluated, before anything is trained or written."""
    config, store = resolved.config, resolved.store
    for run in [*config.teacher_runs, *([config.start] if config.start is not None else [])]:
        read_run_config(run)  # what is no run
    modalities = list(config.modalities or store.modalities)
    check_store(config, store, modalities)
    look_ahead(config, store, modalities, reported_split(config.eval_split, store))


def _request(
    resolved: ResolvedRun, progress: Progress, resume: bool
) -> tuple["RunRequest", tuple[TrainedRun, ...], TrainedRun | None]:
    config, store, layers = resolved.config, resolved.store, resolved.layers
    each = STRATEGIES[config.strategy].teacher_each
    if resolved.notes:
        progress.stage("before the start", resolved.notes)
    first, begin_with = first_configs(config, layers, store)
    before = []
    for one in first:
        suffix = f"-teacher-{one.modalities[0]}" if each and one.modalities else "-teacher"
        before.append(_train_first(one, config, store, suffix, progress, resume))
    teachers = [run.path for run in before] or (config.teacher_runs if config.has_teacher else [])
    begun = _train_first(begin_with, config, store, "-start", progress, resume) if begin_with is not None else None
    start = begun.path if begun is not None else config.start
    return RunRequest(config, store, tuple(teachers), start, resume, tuple(resolved.notes)), tuple(before), begun


def first_configs(
    config: FuseConfig, layers: Mapping[str, Mapping[str, Any]], store: FeatureStore
) -> tuple[list[FuseConfig], FuseConfig | None]:
    """What has to be trained before a run: the teachers that it is not given, and the run that it starts from."""
    strategy = STRATEGIES[config.strategy]
    teachers: list[FuseConfig] = []
    if config.has_teacher and not config.teacher_runs:
        teachers = teacher_configs(config, layers, config.teacher_modalities or _in_train(config, store))
        for one in teachers:
            if not len(store.rows(reported_split(one.eval_split, store), one.modalities)):
                one.eval_split = "train"  # the one sensor it has is nowhere at test: there is nothing else to score
    begins = config.start is None and strategy.start is not None
    return teachers, start_config(config, layers) if begins else None


def _in_train(config: FuseConfig, store: FeatureStore) -> list[str]:
    """The run's modalities, without those that no training segment has: there is nothing to teach of them."""
    names = list(config.modalities or store.modalities)
    found = [
        name
        for name in names
        if len(store.rows("train", [name]))
        and config.train_missing.get(store.resolve(name)[0], 0) < 1
        and (config.train_modalities is None or store.resolve(name)[0] in config.train_modalities)
    ]
    return found or names


def _train_first(
    first: FuseConfig, config: FuseConfig, store: FeatureStore, suffix: str, progress: Progress, resume: bool
) -> TrainedRun:
    """Train, or find trained, a run that `config` builds on, in a folder beside its own.

    Other runs may build on it too: where another process is training it, that is waited for.
    """
    first.store = config.store
    if config.out is not None:
        first.out = config.out.with_name(config.out.name + re.sub(r"[^\w.-]", "_", suffix))
    return train_run(RunRequest(first, store, resume=resume), progress, patient=True)


@dataclasses.dataclass(frozen=True)
class RunRequest:
    """One run to train, or to continue, or to find finished.

    Attributes:
        teachers: runs to learn from; several are an ensemble.
        start: a run whose weights it starts from.
        resume: insist that it was begun before.
        notes: what a person should know of it before it starts.
    """

    config: FuseConfig
    store: FeatureStore
    teachers: tuple[Path, ...] = ()
    start: Path | None = None
    resume: bool = False
    notes: tuple[str, ...] = ()


def train_run(request: RunRequest, progress: Progress, patient: bool = False) -> TrainedRun:
    """Train one run, or continue it, or find it finished.

    Args:
        patient: wait for another process that is training the same run.

    Raises:
        ConfigError: options do not fit the store.
        InUseError: another process is training the run.
    """
    with writing_run(open_folder(request).path, progress if patient else None):
        return train_held(request, progress)


def train_held(request: RunRequest, progress: Progress) -> TrainedRun:
    """As train_run, for who holds the right to write the run's folder."""
    folder = open_folder(request)
    if folder.finished:
        return TrainedRun(folder.path, evaluate(folder.path), was_finished=True)
    with own_randomness():
        result = make_training(request, folder, progress).run()
    return TrainedRun(folder.path, result, was_finished=False)


def open_folder(request: RunRequest) -> RunFolder:
    """The folder of a run, begun or not. Raises ConfigError where options, or `resume`, do not fit."""
    modalities = _modalities(request)
    check_store(request.config, request.store, modalities)
    origins = [teacher_name(run) for run in request.teachers]
    if request.start is not None:
        origins.append(f"start-{teacher_name(request.start)}")
    folder = RunFolder(request.config, request.store, modalities, "+".join(origins) or None)
    if request.resume and not folder.begun:
        raise ConfigError(
            f"--resume: no run of these options was begun in {folder.path}. Leave --resume out to begin it, or give "
            "the options (and --out) that it was begun with."
        )
    return folder


def make_training(request: RunRequest, folder: RunFolder, progress: Progress, loader: Loader | None = None) -> Training:
    """A run about to be trained, its teachers asked.

    Args:
        loader: see Training.
    """
    config, teachers = request.config, request.teachers
    device = usable_device(config.device)

    def ask(rows: NDArray[np.int64], held_out: NDArray[np.int64], seen: Mapping[str, NDArray[np.bool_]]) -> Teaching:
        store = request.store
        answers = []
        for run in teachers:
            progress.stage(f"teacher's answers ({teacher_name(run)})", ["every segment, every modality subset, once"])
            report = functools.partial(progress.advance, unit="blocks")
            answers.append(cached_answers(run, store, device, report))
        features = teacher_features(teachers[0], store, rows, device, seen) if config.mad > 0 else None
        labels = {task: store.labels(task) for task in store.tasks}
        if config.calibrate or (len(answers) > 1 and config.ensemble == "dataset"):
            held_out = unlearned(teachers, store, held_out)
        if config.calibrate:
            answers = [answer.calibrated(labels, held_out) for answer in answers]
        if len(answers) == 1:
            return Teaching(answers[0], features)
        ensemble = Ensemble(answers, config.ensemble, config.ensemble_temperature, labels, held_out)
        return Teaching(ensemble, features)

    return Training(
        config,
        request.store,
        _modalities(request),
        folder,
        ask if teachers else None,
        device,
        progress,
        request.start,
        loader,
        request.notes,
    )


def _modalities(request: RunRequest) -> list[str]:
    return list(request.config.modalities or request.store.modalities)


def check_store(config: FuseConfig, store: FeatureStore, modalities: list[str]) -> None:
    """Raise ConfigError naming everything a run asks for that the store has not."""
    problems = Problems()
    for name in modalities:
        try:
            store.resolve(name)
        except ConfigError as error:
            problems.add(str(error))
    names = [name.partition("/")[0].partition("=")[0] for name in modalities]
    if len(set(names)) < len(names):
        problems.add(f"--modalities {','.join(modalities)} names a modality twice; a run takes one encoder of each")
    if not modalities:
        problems.add(f"{store.path} has no tokens yet; `mmcache extract` fills it")
    if config.target is not None:
        problems.check_name("target modality", config.target, names)
    _check_teachers(config, store, names, problems)
    for option, chosen in (("train_modalities", config.train_modalities), ("anchor", config.anchor)):
        for name in [chosen] if isinstance(chosen, str) else chosen or ():
            problems.check_name(f"modality in {option}", name, names)
    if config.few_shot_task is not None:
        problems.check_name("few_shot_task", config.few_shot_task, store.tasks)
    if len(names) == 1:
        for loss in ("align", "mar"):
            if getattr(config, loss) > 0:
                problems.add(f"the loss {loss} is between modalities, and this run has one, {names[0]}")
    labelled = config.train_modalities
    if labelled is not None and config.align > 0 and config.align_share == 0 and len(names) > 1:
        anchor = config.anchor or ("rgb" if "rgb" in names else names[0])
        if anchor not in labelled or len(labelled) < 2:
            problems.add(
                f"epochs that learn labels see train_modalities ({', '.join(labelled)}) alone, so the loss align has "
                f"nothing there to align with {anchor}: give --set align_share=0.5, first epochs that align alone, or "
                "--set align=0"
            )
    if "train" not in store.meta.splits:
        counts = ", ".join(f"{split} ({count} segments)" for split, count in store.meta.splits.items())
        problems.add(
            f"{store.path} has no split 'train' to learn from; its splits are {counts or 'none'}. Call the segments to "
            "learn from 'train' in the table or file that the store was made of, and make the store anew"
        )
    try:
        reported_split(config.eval_split, store)
    except ConfigError as error:
        problems.add(str(error))
    problems.raise_if_any()


def _check_teachers(config: FuseConfig, store: FeatureStore, names: list[str], problems: Problems) -> None:
    """Add what is wrong with the modalities of teachers: unknown ones, or none that a teacher would ever see."""
    for name in config.teacher_modalities or ():
        try:
            store.resolve(name)
        except ConfigError as error:
            problems.add(f"teacher_modalities: {error}")
    if config.alpha == 1 or config.teacher_mask == "full":
        return
    read = [name.partition("/")[0].partition("=")[0] for name in config.teacher_modalities or ()]
    for run in config.teacher_runs:
        read += read_run_config(run)["model"]["modalities"]
    if read and not set(read) & set(names):
        problems.add(
            f"the teacher reads {', '.join(dict.fromkeys(read))}, of which this run has none, and teacher_mask same "
            "shows it what the run sees alone: it would never answer. Give --set teacher_mask=full"
        )
