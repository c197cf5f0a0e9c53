"""Train a strategy on a store, its teacher first where it has one."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mmcache.fuse.config import FuseConfig, make_config, teacher_config
from mmcache.fuse.evaluation import evaluate
from mmcache.fuse.loop import Training
from mmcache.fuse.progress import Progress, Silent
from mmcache.fuse.run import RunFolder, own_randomness
from mmcache.fuse.teacher import cached_answers, teacher_name
from mmcache.store.errors import ConfigError, Problems
from mmcache.store.feature_store import FeatureStore


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """A finished run: its folder, its results in the form of `evaluate --json`, and whether it was there already."""

    path: Path
    result: dict[str, Any]
    was_finished: bool
    teacher: "TrainedRun | None" = None


def train(strategy: str, options: Mapping[str, Any] | None = None, progress: Progress | None = None) -> TrainedRun:
    """Train a named strategy, its teacher first where it has one.

    Args:
        strategy: a name of STRATEGIES.
        options: FuseConfig options that override the strategy's preset.

    Raises:
        ConfigError: options are wrong or do not fit the store.
    """
    return train_layers(strategy, {"flags": options or {}}, progress or Silent())


def resolve_run(
    strategy: str, layers: Mapping[str, Mapping[str, Any]]
) -> tuple[FuseConfig, FeatureStore, Mapping[str, Mapping[str, Any]]]:
    """Resolve options against the store, whose own recommendations come below all layers but the preset.

    Returns:
        The options, the store, and the layers with the store's.
    """
    chosen = make_config(strategy, layers).store or newest_store()
    store = FeatureStore.open(chosen)
    layers = {f"{chosen} (recommended)": store.meta.recommended, **layers}
    config = make_config(strategy, layers)
    config.store = chosen
    return config, store, layers


def train_layers(strategy: str, layers: Mapping[str, Mapping[str, Any]], progress: Progress) -> TrainedRun:
    """As `train`, with options in layers (see settings.resolve)."""
    config, store, layers = resolve_run(strategy, layers)
    if config.alpha == 1:
        return train_run(config, store, None, progress)
    if config.teacher is not None:
        return train_run(config, store, config.teacher, progress)
    first = teacher_config(config, layers)
    first.store = config.store
    if config.out is not None:
        first.out = config.out.with_name(f"{config.out.name}-teacher")
    teacher = train_run(first, store, None, progress)
    return dataclasses.replace(train_run(config, store, teacher.path, progress), teacher=teacher)


def newest_store() -> Path:
    """The store under cache/ that was changed last. Raises ConfigError when there is none."""
    found = sorted(Path("cache").glob("*.zarr"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise ConfigError(
            "no store under cache/. Make one with `mmcache extract --dataset NAME`, or name one with --store PATH."
        )
    return found[-1]


def train_run(config: FuseConfig, store: FeatureStore, teacher: Path | None, progress: Progress) -> TrainedRun:
    """Train one run, or continue it, or find it finished."""
    modalities = list(config.modalities or store.modalities)
    _check_store(config, store, modalities)
    name = teacher_name(teacher) if teacher is not None else None
    folder = RunFolder(config, store, modalities, name)
    if folder.finished:
        return TrainedRun(folder.path, evaluate(folder.path), was_finished=True)
    device = _device(config.device)
    answers = None
    if teacher is not None:
        progress.stage(f"teacher's answers ({name})", ["every segment, every modality subset, once"])
        answers = cached_answers(teacher, store, device, lambda done, total: progress.advance(done, total, "blocks"))
    with own_randomness():
        result = Training(config, store, modalities, folder, answers, device, progress).run()
    return TrainedRun(folder.path, result, was_finished=False)


def _check_store(config: FuseConfig, store: FeatureStore, modalities: list[str]) -> None:
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
        problems.check_name("target modality", config.target, modalities)
    for split in ("train", config.eval_split or store.meta.eval_split):
        problems.check_name(f"split of {store.path}", split, store.meta.splits)
    problems.raise_if_any()


def _device(asked: str) -> str:
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=asked)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"--device {asked} cannot be used here: {str(error).splitlines()[0]}") from error
    return asked
