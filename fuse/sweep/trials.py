"""From a sweep's spec to its trials: planned runs, each with a label and a folder of its own."""

import dataclasses
import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmcache.fuse.options.components import find
from mmcache.fuse.options.options import Options
from mmcache.fuse.sweep.controls import control_layers
from mmcache.fuse.sweep.space import draw_points
from mmcache.fuse.sweep.spec import SweepSpec
from mmcache.fuse.training.plan import AXES, FLAGS, OVERRIDES, RUN, PlannedRun, plan_run
from mmcache.fuse.training.stores import Stores
from mmcache.store.feature_store import FeatureStore
from mmcache.store.ground.errors import ConfigError, MmcacheError, Problems
from mmcache.store.segments.folds import fold_names

RUNS = "runs"  # below a sweep's folder
FUSE = "fuse"  # the layer of options for all trials and their teachers
ALL_FOLDS = "all"  # of the axis fold: one trial for every group
TRIAL = "trial"


@dataclasses.dataclass(frozen=True)
class Trial:
    """One run of a sweep.

    Attributes:
        run: as planned, its folder among its options.
        label: what a person calls it; `method` is the same without the seed and the fold.
        point: the options by which it differs from others of its strategy.
    """

    run: PlannedRun
    label: str
    method: str
    point: dict[str, Any]

    @property
    def identity(self) -> str:
        return self.run.identity

    @property
    def options(self) -> Options:
        return self.run.options

    @property
    def folder(self) -> Path:
        return self.run.folder

    @property
    def role(self) -> str:
        """trial; teacher, that others learn from; or start, whose weights others start from."""
        return TRIAL if self.run.role == RUN else self.run.role

    @property
    def needs(self) -> tuple[str, ...]:
        """The identities of the trials that must be finished before this one."""
        return tuple(run.identity for run in self.run.needs)

    @property
    def teachers(self) -> tuple[str, ...]:
        """The identities of the trials that it learns from."""
        return tuple(run.identity for run in self.run.teachers)


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
        self._opened = Stores()
        self._unused: dict[str, dict[str, str]] = {}  # option -> strategy -> why it is not used

    def make_all(self) -> None:
        """Make every trial that is known beforehand. Raises ConfigError naming everything that is wrong, once each."""
        problems = Problems()
        for path in self.stores:
            try:
                FeatureStore.open(path)
            except MmcacheError as error:
                problems.add(str(error))
        problems.raise_if_any()
        made = []
        for store, strategy, point, seed in self._combinations():
            try:
                made.append(self.make(strategy, store, point, seed))
            except ConfigError as error:
                said = f"{strategy}: {str(error).replace('flags: ', '')}"
                if said not in problems.messages:
                    problems.add(said)
        try:
            self.make_controls(made)  # after all trials: a control that is one of them is that one
        except ConfigError as error:
            problems.add(str(error))
        self._settle_unused(problems)
        problems.raise_if_any()
        self.samples = list(self.trials.values())
        if self.spec.search is not None:
            self.trials.clear()

    def _settle_unused(self, problems: Problems) -> None:
        """An option that no strategy of the sweep has is an error; one that some have not is told."""
        for option, reasons in self._unused.items():
            if set(reasons) >= set(self.spec.strategies):
                problems.add(next(iter(reasons.values())))
            else:
                varied = any(option in names for names in (self.spec.axes, *self.points()))
                same = ", and their trials are the same for all its values" if varied else ""
                self.notes.append(f"{option} is not an option of {' and '.join(reasons)}{same}")

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
        return self._opened.open(path, protocol)

    def make(self, strategy: str, store: Path, point: Mapping[str, Any], seed: int) -> Trial:
        """The trial of a point, after those it needs; the one there is, where it was made before.

        Raises:
            ConfigError: the options are wrong or do not fit the store, or a run given as teacher or start is none.
        """
        overrides = self.spec.overrides.get(strategy, {})
        varied = {name: value for name, value in point.items() if name not in overrides}
        layers = {
            FUSE: self.spec.fuse,
            AXES: varied,
            OVERRIDES: overrides,
            FLAGS: {**self.spec.flags, "store": store, "seed": seed, **self._device()},
        }
        run = plan_run(strategy, layers, self.spec.recipe, self._opened, (FUSE, AXES, FLAGS))
        if run.options.data.validation == 0 and (self.spec.search is not None or self.spec.asha is not None):
            raise ConfigError(
                "search and asha go by segments that training does not learn from: leave out --validation 0"
            )
        for option, why in run.unused.items():
            self._unused.setdefault(option, {})[strategy] = why
        notes = [f"{run.options.name}: {note}" for note in run.notes]
        self.notes += [note for note in notes if note not in self.notes]
        return self._add(run, {name: value for name, value in varied.items() if name not in run.unused})

    def make_controls(self, trials: Sequence[Trial]) -> None:
        """The controls of trials, where the sweep has controls: another strategy, all else equal.

        A control that several trials share is made once.

        Raises:
            ConfigError: a control cannot have the options of its trial.
        """
        controls: dict[str, tuple[PlannedRun, list[Trial]]] = {}
        for trial in trials if self.spec.with_controls else ():
            control, layers = control_layers(trial.options)
            if control is None:
                continue
            try:
                run = plan_run(control, layers, self.spec.recipe, self._opened, (*layers,))
            except ConfigError as error:
                raise ConfigError(f"{control} as the control of {trial.label}: {error}") from None
            controls.setdefault(run.identity, (run, []))[1].append(trial)
        for run, of in controls.values():
            names = ", ".join(dict.fromkeys(trial.options.name for trial in of))
            mine, theirs = run.options.flat(), of[0].options.flat()
            shared = {
                name: value
                for name, value in of[0].point.items()
                if name in mine and name in theirs and mine[name] == theirs[name]
            }
            self._add(run, shared, f"{run.options.name} (control of {names})")

    def _device(self) -> dict[str, str]:
        asked = {**self.spec.fuse, **self.spec.flags}.get("device", "auto")
        return {"device": "cpu"} if self.spec.resources.gpus == 0 and asked == "auto" else {}

    def _add(self, run: PlannedRun, point: dict[str, Any], name: str | None = None) -> Trial:
        """The trial of a planned run, after those that it needs."""
        needs = {first.identity: self._add(first, _of_teacher(first, run)) for first in run.needs}
        known = self.trials.get(run.identity)
        if known is not None and (known.role == TRIAL or run.role != RUN):
            return known
        options = run.options
        of_store = f"{self._name(options.store)} " if len(self.stores) > 1 else ""
        told = [f"{option}={shown(value)}" for option, value in point.items() if option != "fold"]
        method = of_store + " ".join([name or options.name, *told])
        fold = f" fold={options.data.fold}" if options.data.fold is not None else ""
        label = f"{method}{fold} seed={options.run.seed}"
        folder = known.folder if known is not None else self.out / RUNS / f"{_slug(label)}-{run.identity}"
        placed = dataclasses.replace(
            run,
            options=options.replace(out=folder),
            teachers=tuple(needs[first.identity].run for first in run.teachers),
            init_from=needs[run.init_from.identity].run if run.init_from is not None else None,
        )
        made = Trial(placed, label, method, point)
        self.trials[run.identity] = made
        return made

    def _name(self, store: Path) -> str:
        stem = store.name.removesuffix(".zarr")
        alike = sum(other.name == store.name for other in self.stores)
        return stem if alike == 1 else f"{store.parent.name}-{stem}"


def _of_teacher(first: PlannedRun, run: PlannedRun) -> dict[str, Any]:
    """What tells the teachers of a run apart: the modality, where each has one of its own."""
    need = find("strategy", run.options.strategy)[0].teacher
    modalities = first.options.data.modalities
    return {"modality": modalities[0]} if need is not None and need.each and modalities else {}


def shown(value: Any) -> str:
    """A value as labels have it."""
    if isinstance(value, float):
        return f"{value:g}"
    return ",".join(map(shown, value)) if isinstance(value, list) else str(value)


def _slug(text: str) -> str:
    """A folder's name: letters, digits, point, dash."""
    return re.sub(r"[^\w.]+", "-", text.replace("=", "")).strip("-.")[:80]
