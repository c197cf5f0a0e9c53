"""Ask the teachers of a run for what its loss terms read: cached logits, weights of an ensemble, features."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmcache.fuse.data.rows import Rows
from mmcache.fuse.options.options import Options
from mmcache.fuse.runs.progress import Progress
from mmcache.fuse.teachers.compute import cached_logits, teacher_features, teacher_name
from mmcache.fuse.teachers.ensemble import Ensemble
from mmcache.fuse.teachers.known_segments import unlearned
from mmcache.fuse.teachers.signals import LogitsSource, TeacherSignals
from mmcache.store.feature_store import FeatureStore

# (rows of the run, its modalities) -> what its teachers say
Gather = Callable[[Rows, list[str]], TeacherSignals]


def gather_signals(
    options: Options, store: FeatureStore, teachers: Sequence[Path], device: str, progress: Progress
) -> Gather:
    """How a run, once it knows its rows, asks its teachers."""

    def gather(rows: Rows, names: list[str]) -> TeacherSignals:
        need = options.components.strategy.teacher
        assert need is not None
        features = None
        source = _logits(options, store, teachers, device, progress, rows.validation)
        if need.features:
            seen: Mapping[str, NDArray[np.bool_]] = dict(zip(names, (rows.present & rows.labels_from).T, strict=True))
            features = teacher_features(teachers[0], store, rows.train, device, seen)
        restricted = bool(options.data.train_missing) or options.data.train_modalities is not None
        return TeacherSignals(source, names, list(store.tasks), features, restricted)

    return gather


def _logits(
    options: Options,
    store: FeatureStore,
    teachers: Sequence[Path],
    device: str,
    progress: Progress,
    held_out: NDArray[np.int64],
) -> LogitsSource:
    """The logits of one teacher, or of several as one."""
    found = []
    for run in teachers:
        progress.stage(f"logits of the teacher {teacher_name(run)}", ["every segment, every modality subset, once"])
        found.append(cached_logits(run, store, device, functools.partial(progress.advance, unit="blocks")))
    assert options.teacher is not None
    kind = getattr(options.own, "ensemble", "uniform")
    calibrate = options.teacher.calibrate
    labels = {task: store.labels(task) for task in store.tasks}
    if calibrate or (len(found) > 1 and kind == "dataset"):
        held_out = unlearned(teachers, store, held_out)
    if calibrate:
        found = [one.calibrated(labels, held_out) for one in found]
    if len(found) == 1:
        return found[0]
    return Ensemble(found, kind, options.own.ensemble_temperature, labels, held_out)
