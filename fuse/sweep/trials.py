"""From a sweep's spec to its trials: runs with options resolved against their store, and the runs they need first."""

import dataclasses
import itertools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmcache.fuse.config import FuseConfig
from mmcache.fuse.data.preflight import look_ahead
from mmcache.fuse.data.reported_split import reported_split
from mmcache.fuse.laws import unused_options
from mmcache.fuse.network.model import read_run_config
from mmcache.fuse.resolve import resolve_run
from mmcache.fuse.strategies import STRATEGIES
from mmcache.fuse.sweep.space import draw_points
from mmcache.fuse.sweep.spec import SweepSpec
from mmcache.fuse.teachers.teacher import teacher_name
from mmcache.fuse.training.run_folder import store_identity
from mmcache.fuse.training.train import check_store, first_configs
from mmcache.store.feature_store import FeatureStore
from mmcache.store.ground.errors import ConfigError, MmcacheError, Problems
from mmcache.store.segments.folds import fold_names

RUNS = "runs"  # below a sweep's folder
ALL_FOLDS = "all"  # of the axis fold: one trial for every group


@dataclasses.dataclass(frozen=True)
class Trial:
    """One run of a sweep.

    Attributes:
        identity: of its resolved options, its store's fingerprint and the runs it builds on.
        label: what a person calls it; `method` is the same without the seed and the fold.
        role: trial, teacher (answers others) or start (others begin from its weights).
        point: the options by which it differs from others of its strategy.
        folder: of its run.
        teachers, start: identities of the trials it builds on.
        given: runs from elsewhere that it learns from.
    """

    identity: str
    label: str
    method: str
    role: str
    config: FuseConfig
    point: dict[str, Any]
    folder: Path
    teachers: tuple[str, ...] = ()
    start: str | None = None
    given: tuple[Path, ...] = ()

    @property
    def needs(self) -> tuple[str, ...]:
        """The trials that must be finished before this one."""
        return (*self.teachers, *([self.start] if self.start is not None else []))


class Planner:
    """Makes trials, and remembers them: two that come to the same are one.

    Args:
        spec: checked, its stores absolute.
        out: the sweep's folder.

    Attributes:
        trials: identity -> trial, each after those it needs; those of a search come while it runs.
        samples: what the trials are like, of a search too.
        stores: where the sweep's stores lie.
        notes: what a person should know before the start, once each.
    """

    def __init__(self, spec: SweepSpec, out: Path) -> None:
        self.spec, self.out = spec, out.absolute()
        self.stores = spec.stores
        self.trials: dict[str, Trial] = {}
        self.samples: list[Trial] = []
        self.notes: list[str] = []
        self._opened: dict[tuple[Path, str | None], FeatureStore] = {}
        self._digests: dict[tuple[Path, str | None, tuple[str, ...]], str] = {}

    def make_all(self) -> None:
        """Make every trial that is known beforehand. Raises ConfigError naming everything that is wrong, once each."""
        problems = Problems()
        for path in self.stores:
            try:
                FeatureStore.open(path)
            except MmcacheError as error:
                problems.add(str(error))
        problems.raise_if_any()
        for store, strategy, point, seed in self._combinations():
            try:
                self.make(strategy, store, point, seed)
            except ConfigError as error:
                said = f"{strategy}: {str(error).replace('flags: ', '')}"
                if said not in problems.messages:
                    problems.add(said)
        problems.raise_if_any()
        self.samples = list(self.trials.values())
        if self.spec.search is not None:
            self.trials.clear()

    def _combinations(self) -> list[tuple[Path, str, dict[str, Any], int]]:
        """Store, strategy, point and seed of every trial; of a search, of one point that it could choose."""
        return [
            (store, strategy, point, seed)
            for store in self.stores
            for strategy, listed, seed in itertools.product(self.spec.strategies, self.points(), self.spec.seeds)
            for point in self._folds(store, listed)
        ]

    def _folds(self, store: Path, point: dict[str, Any]) -> list[dict[str, Any]]:
        """The point; one for each group of the store's segments where it asks for fold=all."""
        if point.get("fold") != ALL_FOLDS:
            return [point]
        group = {**self.spec.fuse, **self.spec.flags, **point}.get("group")
        if group is None:
            raise ConfigError(f"fold={ALL_FOLDS} needs --group COLUMN: whose values are the folds, as --group person")
        return [{**point, "fold": name} for name in fold_names(self.open(store, None).segments, group)]

    def points(self) -> list[dict[str, Any]]:
        """Every combination of the axes, with every random point; of a search, one that it could choose."""
        if self.spec.search is not None:
            return draw_points(self.spec.search.space, 1, self.spec.search.seed)
        axes = [
            dict(zip(self.spec.axes, values, strict=True)) for values in itertools.product(*self.spec.axes.values())
        ]
        random = self.spec.random
        drawn = draw_points(random.space, random.num_samples, random.seed) if random is not None else [{}]
        return [{**grid, **extra} for grid in axes for extra in drawn]

    def open(self, path: Path, protocol: str | None) -> FeatureStore:
        """The store, opened once."""
        key = (path, protocol)
        if key not in self._opened:
            self._opened[key] = FeatureStore.open(path, protocol=protocol)
        return self._opened[key]

    def make(self, strategy: str, store: Path, point: Mapping[str, Any], seed: int) -> Trial:
        """The trial of a point, after those it needs; the one there is, where it was made before.

        Raises:
            ConfigError: the options are wrong or do not fit the store, or a run given as teacher or start is none.
        """
        overrides = self.spec.overrides.get(strategy, {})
        varied = {name: value for name, value in point.items() if name not in overrides}
        flags = {**overrides, **varied, **self.spec.flags, "store": store, "seed": seed}
        resolved = resolve_run(strategy, {"fuse": self.spec.fuse, "flags": flags})
        config, layers = resolved.config, resolved.layers
        opened = self.open(store, config.protocol)
        if config.holdout == 0 and (self.spec.search is not None or self.spec.asha is not None):
            raise ConfigError("search and asha go by segments that training does not learn from: leave out --holdout 0")
        varied = {name: value for name, value in varied.items() if name not in unused_options(config, varied)}
        given = config.teacher_runs if config.has_teacher else []
        for run in [*given, *([config.start] if config.start is not None else [])]:
            read_run_config(run)
        modalities = list(config.modalities or opened.modalities)
        check_store(config, opened, modalities)
        seen = look_ahead(config, opened, modalities, reported_split(config.eval_split, opened))
        notes = [*resolved.notes, *(f"{strategy}: {note}" for note in seen)]
        self.notes += [note for note in notes if note not in self.notes]
        first, begin_with = first_configs(config, layers, opened)
        teachers = []
        for one in first:
            alone = {"modality": one.modalities[0]} if STRATEGIES[strategy].teacher_each and one.modalities else {}
            teachers.append(self._add(one, store, alone, "teacher"))
        start = self._add(begin_with, store, {}, "start") if begin_with is not None else None
        return self._add(config, store, varied, "trial", teachers, start, given)

    def _add(
        self,
        config: FuseConfig,
        store: Path,
        point: dict[str, Any],
        role: str,
        teachers: list[Trial] | None = None,
        start: Trial | None = None,
        given: list[Path] | None = None,
    ) -> Trial:
        config.store = store
        if self.spec.resources.gpus == 0 and config.device == "auto":
            config.device = "cpu"
        teachers, given = teachers or [], [run.absolute() for run in given or []]
        origins = [*(trial.identity for trial in teachers), *(teacher_name(run) for run in given)]
        if start is not None or config.start is not None:
            origins.append(f"start-{start.identity if start is not None else teacher_name(config.start)}")  # type: ignore[arg-type]
        identity = config.identity(self._digest(config, store) + "+".join(origins))
        known = self.trials.get(identity)
        if known is not None and (known.role == "trial" or role != "trial"):
            return known
        of_store = f"{self._name(store)} " if len(self.stores) > 1 else ""
        told = [f"{name}={shown(value)}" for name, value in point.items() if name != "fold"]
        method = of_store + " ".join([config.strategy, *told])
        fold = f" fold={config.fold}" if config.fold is not None else ""
        label = f"{method}{fold} seed={config.seed}"
        folder = known.folder if known is not None else self.out / RUNS / f"{_slug(label)}-{identity}"
        config.out = folder
        runs = [*(trial.folder for trial in teachers), *given]
        if runs:
            config.teacher = runs[0] if len(runs) == 1 else runs
        made = Trial(
            identity=identity,
            label=label,
            method=method,
            role=role,
            config=config,
            point=point,
            folder=folder,
            teachers=tuple(trial.identity for trial in teachers),
            start=start.identity if start is not None else None,
            given=tuple(given),
        )
        self.trials[identity] = made
        return made

    def _digest(self, config: FuseConfig, path: Path) -> str:
        store = self.open(path, config.protocol)
        modalities = list(config.modalities or store.modalities)
        check_store(config, store, modalities)
        key = (path, config.protocol, tuple(modalities))
        if key not in self._digests:
            self._digests[key] = store_identity(store, modalities)
        return self._digests[key]

    def _name(self, store: Path) -> str:
        stem = store.name.removesuffix(".zarr")
        alike = sum(other.name == store.name for other in self.stores)
        return stem if alike == 1 else f"{store.parent.name}-{stem}"


def shown(value: Any) -> str:
    """A value as labels have it."""
    if isinstance(value, float):
        return f"{value:g}"
    return ",".join(map(shown, value)) if isinstance(value, list) else str(value)


def _slug(text: str) -> str:
    """A folder's name: letters, digits, point, dash."""
    return re.sub(r"[^\w.]+", "-", text.replace("=", "")).strip("-.")[:80]
