"""One plan: from options to a graph of runs, the same for `fuse` and for every trial of a sweep.

A planned run names what must be trained before it: the teachers that it learns from, and the run whose weights it
starts from. Executing a plan is another matter; see train.py and sweep/.
"""

import dataclasses
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmcache.fuse.data.preflight import look_ahead
from mmcache.fuse.data.reported_split import reported_split
from mmcache.fuse.options.fields import fields_of, is_backbone, reaches_teachers
from mmcache.fuse.options.options import Options
from mmcache.fuse.options.resolve import Layers, Resolved, resolve
from mmcache.fuse.options.shared import SHARED
from mmcache.fuse.runs.config import read_run_config
from mmcache.fuse.teachers.compute import teacher_name
from mmcache.fuse.training.store_checks import bare, check_store, modalities_of
from mmcache.fuse.training.stores import Stores, newest_store
from mmcache.store.feature_store import FeatureStore
from mmcache.store.format.recommended import ignored_note, take_recommended
from mmcache.store.ground.errors import ConfigError

RUN, TEACHER, START = "run", "teacher", "start"
# Layers of what is asked of one run; other layers speak for its teachers too.
FLAGS, AXES, OVERRIDES = FOR_ONE_RUN = ("flags", "axes", "overrides")


@dataclasses.dataclass(frozen=True)
class PlannedRun:
    """One run, and the runs that it needs first.

    Attributes:
        options: resolved against the store, which they name.
        identity: of what shapes its result: options, tokens, and the runs that it builds on.
        role: run; teacher, that others learn from; or start, whose weights others start from.
        teachers: runs to be trained first and to learn from.
        init_from: the run to be trained first whose weights it starts from.
        given: runs named as teachers, which are finished.
        notes: what a person should know before it starts.
        unused: option -> why this run does not use it, of the lenient layers.
    """

    options: Options
    identity: str
    role: str = RUN
    teachers: tuple["PlannedRun", ...] = ()
    init_from: "PlannedRun | None" = None
    given: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    unused: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def needs(self) -> tuple["PlannedRun", ...]:
        """The runs that must be finished before this one."""
        return (*self.teachers, *([self.init_from] if self.init_from is not None else []))

    def all(self) -> Iterator["PlannedRun"]:
        """This run and all that it builds on, those first."""
        for first in self.needs:
            yield from first.all()
        yield self

    @property
    def folder(self) -> Path:
        """The folder of the run: --out, or runs/STORE/STRATEGY-IDENTITY."""
        store = self.options.store.name.removesuffix(".zarr")
        return self.options.run.out or Path("runs") / store / f"{self.options.name}-{self.identity}"


def plan_run(
    strategy: str,
    layers: Layers,
    recipe: str,
    stores: Stores,
    lenient: Collection[str] = (),
) -> PlannedRun:
    """Plan a run and everything that it needs first.

    Args:
        layers: where options come from -> option -> value; see resolve.
        lenient: layers whose options are left out where a run does not have them.

    Raises:
        ConfigError: options are wrong, do not fit the store, or could not be evaluated; nothing was trained or written.
    """
    notes: list[str] = []
    asked = resolve(strategy, layers, recipe, lenient)
    path = asked.options.data.store or newest_store(notes)
    store = stores.open(path, asked.options.data.protocol)
    layers = _with_recommended(strategy, layers, recipe, lenient, store, path, notes)
    resolved = resolve(strategy, layers, recipe, {*lenient, _recommends(path)})
    options = resolved.options.replace(store=path)
    for run in [*options.teacher_runs, *([options.run.init_from] if options.run.init_from is not None else [])]:
        read_run_config(run)  # raises for what is not a run
    check_store(options, store)
    notes += look_ahead(options, store, modalities_of(options, store), reported_split(options.data.eval_split, store))
    if options.teacher_runs and not options.asks_teacher:
        notes.append(f"no loss of {options.name} asks a teacher: --teacher is not used")
    context = _Context(stores, layers, recipe, {*lenient, *layers})
    teachers = _plan_teachers(options, store, context)
    start = _plan_start(options, context)
    given = tuple(run.absolute() for run in options.teacher_runs) if options.asks_teacher else ()
    unused = {name: why for name, why in resolved.unused.items() if name not in layers.get(_recommends(path), {})}
    return _planned(options, context, RUN, teachers, start, given, tuple(notes), unused)


@dataclasses.dataclass(frozen=True)
class _Context:
    """What the runs of one plan share."""

    stores: Stores
    layers: Layers
    recipe: str
    lenient: set[str]

    def resolve(self, strategy: str, more: Mapping[str, Any], where: str, without: Collection[str] = ()) -> Resolved:
        """The options of a run that is trained first.

        Settings files and recommendations speak for it too; of the flags, it takes what concerns data and schedule.

        Args:
            more: what the run that builds on it asks of it.
            where: where that comes from, as messages say it.
        """
        shared = {
            layer: {
                name: value
                for name, value in values.items()
                if name not in without and (layer not in FOR_ONE_RUN or name in _FOR_TEACHERS)
            }
            for layer, values in self.layers.items()
        }
        return resolve(strategy, {**shared, where: more}, self.recipe, {*self.lenient, where})


_FOR_TEACHERS = {field.name for kind in SHARED.values() for field in fields_of(kind) if reaches_teachers(field)} | {
    "store"
}


def _recommends(path: Path) -> str:
    return f"{path} (recommended)"


def _with_recommended(
    strategy: str,
    layers: Layers,
    recipe: str,
    lenient: Collection[str],
    store: FeatureStore,
    path: Path,
    notes: list[str],
) -> Layers:
    """The layers above the store's recommendations, as far as these go together with what is asked for.

    Recommendations are data: those that are not on the list of recommended.py, or that contradict the options, are left
    out and noted, and never end the run.
    """
    recommended, ignored = take_recommended(store.meta.recommended)
    if ignored:
        notes.append(ignored_note(str(path), ignored))
    if not recommended:
        return layers
    where = _recommends(path)
    layered = {where: recommended, **layers}
    try:
        options = resolve(strategy, layered, recipe, {*lenient, where}).options.replace(store=path)
        context = _Context(Stores(), layered, recipe, {*lenient, *layered})
        need, first = options.components.strategy.teacher, options.components.strategy.init_from
        if need is not None and options.asks_teacher and not options.teacher_runs:
            context.resolve(need.strategy, {}, "the student")
        if first is not None and options.run.init_from is None:
            context.resolve(first, _backbone(options), f"the network of {options.name}")
    except ConfigError as error:
        notes.append(f"the recommendations of {path} do not go together with these options and are left out: {error}")
        return layers
    return layered


def _planned(
    options: Options,
    context: _Context,
    role: str,
    teachers: tuple[PlannedRun, ...] = (),
    start: PlannedRun | None = None,
    given: tuple[Path, ...] = (),
    notes: tuple[str, ...] = (),
    unused: Mapping[str, str] | None = None,
) -> PlannedRun:
    """The run with its identity."""
    store = context.stores.open(options.store, options.data.protocol)
    check_store(options, store)
    origins = [run.identity for run in teachers] + [teacher_name(run) for run in given]
    if start is not None:
        origins.append(f"start-{start.identity}")
    elif options.run.init_from is not None:
        origins.append(f"start-{teacher_name(options.run.init_from)}")
    digest = context.stores.digest(store, options.data.protocol, modalities_of(options, store))
    identity = options.identity(digest + "+".join(origins))
    return PlannedRun(options, identity, role, teachers, start, given, notes, unused or {})


def _plan_teachers(options: Options, store: FeatureStore, context: _Context) -> tuple[PlannedRun, ...]:
    """The teachers that a run is not given and needs: one, or one a modality."""
    need = options.components.strategy.teacher
    if need is None or options.teacher is None or not options.asks_teacher or options.teacher_runs:
        return ()
    asked = options.teacher.teacher_modalities
    reads: list[list[str] | None] = [asked]
    if need.each:
        reads = [[name] for name in asked or _in_train(options, store)]
    out = []
    for modalities in reads:
        # A teacher whose modalities are named learns labels from all of these.
        more = {"modalities": modalities} if modalities is not None else {}
        without = ("train_modalities", "teacher_modalities") if modalities is not None else ("teacher_modalities",)
        teacher = context.resolve(need.strategy, more, "what the teacher reads", without).options
        teacher = _beside(teacher, options, f"-teacher-{modalities[0]}" if need.each and modalities else "-teacher")
        if not len(store.rows(reported_split(teacher.data.eval_split, store), teacher.data.modalities)):
            teacher = teacher.replace(eval_split="train")  # its one sensor is nowhere at test: nothing else to score
        out.append(_planned(teacher, context, TEACHER))
    return tuple(out)


def _plan_start(options: Options, context: _Context) -> PlannedRun | None:
    """The run that is trained first, whose weights a run starts from."""
    first = options.components.strategy.init_from
    if first is None or options.run.init_from is not None:
        return None
    start = context.resolve(first, _backbone(options), f"the network of {options.name}").options
    return _planned(_beside(start, options, "-start"), context, START)


def _backbone(options: Options) -> dict[str, Any]:
    """The options that shape the part of a network that another run starts from."""
    return {field.name: value for _, field, value in options.items() if is_backbone(field)}


def _beside(first: Options, options: Options, suffix: str) -> Options:
    """A run that `options` builds on: of the same store, in a folder beside its own."""
    out = options.run.out
    if out is not None:
        out = out.with_name(out.name + re.sub(r"[^\w.-]", "_", suffix))
    return first.replace(store=options.store, out=out)


def _in_train(options: Options, store: FeatureStore) -> list[str]:
    """The run's modalities, without those that no training segment has: a teacher could not learn from them."""
    names, labelled = modalities_of(options, store), options.data.train_modalities
    found = [
        name
        for name in names
        if len(store.rows("train", [name]))
        and options.data.train_missing.get(bare(name), 0) < 1
        and (labelled is None or bare(name) in labelled)
    ]
    return found or names
