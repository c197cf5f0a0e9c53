"""What a sweep can be told: one YAML file, flags, defaults. Every mistake is reported at once, before anything starts.

# mmcache sweep demo.yaml --out runs/demo
strategies: [dropout, mmt, karmma]
stores: [cache/epic.zarr]
seeds: [0, 1, 2]
axes: {drop: [0.3, 0.5]}            # every combination
random: {num_samples: 4, space: {lr: {loguniform: [1e-4, 1e-2]}}}
overrides: {karmma: {alpha: 0.5}}   # of one strategy; one that names an axis stands in its place
recipe: matched                     # or published: each strategy as its paper has it
fuse: {epochs: 30}                  # options of `mmcache fuse`, for all trials and their teachers that have them
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import pydantic
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from mmcache.common.settings import check_size
from mmcache.common.yaml_file import read_yaml
from mmcache.fuse.options.components import find
from mmcache.fuse.options.owners import every_option
from mmcache.fuse.options.recipes import MATCHED, RECIPES
from mmcache.fuse.sweep.space import Distribution
from mmcache.store.ground.errors import ConfigError, Problems, unknown_name
from mmcache.store.ground.text import excerpt

_MOST_TRIALS = 100_000
SPEC_FILE = "sweep.yaml"  # in a sweep's folder: what it was begun with
Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]
Space = dict[str, Distribution]
_STRICT = ConfigDict(extra="forbid")
# What a sweep decides itself.
_ITS_OWN = ("strategy", "store", "out", "seed")


@dataclass(config=_STRICT)
class Draws:
    """Random points: each strategy is tried with each of them, the same for all."""

    num_samples: Count
    space: Space
    seed: Whole = 0


@dataclass(config=_STRICT)
class Search:
    """Points chosen by what earlier ones came to, with Optuna: a search of its own a strategy and store."""

    num_samples: Count
    space: Space
    seed: Whole = 0
    task: str | None = None  # whose accuracy on what picks the epoch is to be high; None = action, else the first


@dataclass(config=_STRICT)
class Asha:
    """Stop trials early that do worse on what picks the epoch than others did by then (ASHA, arXiv 1810.05934)."""

    grace: Count = 1  # epochs that every trial gets
    factor: Annotated[float, Field(gt=1)] = 3.0  # of so many trials, one goes on at every rung


@dataclass(config=_STRICT)
class Resources:
    """What a trial gets, and how many run at once."""

    cpus: Annotated[float, Field(gt=0)] = 1.0  # and as many threads
    gpus: Annotated[float, Field(ge=0)] | None = None  # a share, as 0.25; None = 1 where there are GPUs
    concurrent: Count | None = None  # None = as many as there is room for


@dataclass(config=_STRICT)
class SweepSpec:
    """A sweep: every strategy, on every store, with every point, for every seed."""

    strategies: list[str]
    recipe: str = MATCHED  # published: each strategy as its paper has it; matched: one network and schedule for all
    with_controls: bool = False  # also the control of every strategy, all else equal
    stores: list[Path] = dataclasses.field(default_factory=list)  # none = the newest under cache/
    seeds: Annotated[list[Whole], Field(min_length=1)] = dataclasses.field(default_factory=lambda: [0])
    axes: dict[str, Annotated[list[Any], Field(min_length=1)]] = dataclasses.field(default_factory=dict)
    random: Draws | None = None
    search: Search | None = None
    overrides: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    fuse: dict[str, Any] = dataclasses.field(default_factory=dict)
    flags: dict[str, Any] = dataclasses.field(default_factory=dict)  # of the command line: these win
    resources: Resources = dataclasses.field(default_factory=Resources)
    asha: Asha | None = None

    def check(self, problems: Problems) -> None:
        """Add every mistake that can be seen without a store."""
        if not self.strategies:
            problems.add("strategies: name one at least; `mmcache list strategies` shows them")
        problems.check_name("recipe", self.recipe, RECIPES)
        for name in self.strategies:
            try:
                find("strategy", name)
            except ConfigError as error:
                problems.add(str(error))
        for name in self.overrides:
            if name not in self.strategies:
                problems.add(f"overrides: {name} is not among the strategies of this sweep")
        for where, names in self._options().items():
            for name in names:
                if name in _ITS_OWN:
                    problems.add(f"{where}: {name} is the sweep's own to set; use strategies, stores, --out or seeds")
                else:
                    self._check_option(where, name, problems)
        self._check_points(problems)
        for what in ("seeds", "strategies", "stores"):
            values = [str(value) for value in getattr(self, what)]
            twice = sorted({value for value in values if values.count(value) > 1})
            if twice:
                problems.add(f"{what}: {', '.join(twice)} is named twice")
        if self.asha is not None and len(self.stores) > 1:
            problems.add(
                "asha compares accuracies between trials, which says nothing across stores: one sweep a store, or no "
                "asha"
            )

    def _check_option(self, where: str, name: str, problems: Problems) -> None:
        """Whether any strategy or part has the option; those of plugins are checked with the trials."""
        known = [*every_option(), *(f.name for each in self.strategies for f in _own_fields(each))]
        problems.check_name(f"option in {where}", name.rpartition(".")[2], known)

    def _options(self) -> dict[str, list[str]]:
        spaces = {"random": self.random, "search": self.search}
        return {
            "axes": list(self.axes),
            **{where: list(part.space) for where, part in spaces.items() if part is not None},
            **{f"overrides of {name}": list(values) for name, values in self.overrides.items()},
            "fuse": list(self.fuse),
            "flags": list(self.flags),
        }

    def _check_points(self, problems: Problems) -> None:
        drawn = self.random.num_samples if self.random is not None else 1
        searched = self.search.num_samples if self.search is not None else 1
        of_axes = math.prod(len(values) for values in self.axes.values())
        trials = len(self.strategies) * max(1, len(self.stores)) * len(self.seeds) * of_axes * drawn * searched
        if trials > _MOST_TRIALS:
            problems.add(f"this makes {trials:,} trials, and {_MOST_TRIALS:,} are allowed: name fewer values or seeds")
        where = {w: set(names) for w, names in self._options().items() if w in ("axes", "random", "search")}
        if self.search is not None and (self.axes or self.random is not None):
            problems.add("search chooses its points itself: put axes and random into its space, as choice and the like")
        elif self.random is not None:
            for name in sorted(where["axes"] & where["random"]):
                problems.add(f"{name} is in axes and in random: choose one")
        for name in sorted(set().union(*where.values()) & set(self.flags)):
            problems.add(f"--{name.replace('_', '-')} is given, and {name} is varied by this sweep: leave one out")
        for part in (self.random, self.search):
            for name, distribution in (part.space if part is not None else {}).items():
                distribution.check(name, problems)

    def plain(self) -> dict[str, Any]:
        """As YAML and JSON can hold it; `from_plain` reads it back."""
        return json.loads(json.dumps(dataclasses.asdict(self), default=str))

    @property
    def identity(self) -> str:
        """What makes this sweep this sweep; not where and how fast it runs."""
        values = {name: value for name, value in self.plain().items() if name != "resources"}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]


def read_spec(path: Path) -> dict[str, Any]:
    """The content of a sweep file. Raises ConfigError when it is unreadable or no mapping."""
    content = read_yaml(path)
    check_size(content, str(path))
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold 'strategies: [...]' and the like, found {type(content).__name__}")
    return content


def make_spec(content: Mapping[str, Any], where: str) -> SweepSpec:
    """The sweep that `content` describes, checked.

    Args:
        where: what the content is of, as a user would say it.

    Raises:
        ConfigError: unknown keys, values of the wrong kind, names and combinations that cannot be; all at once.
    """
    problems = Problems()
    known = [field.name for field in dataclasses.fields(SweepSpec)]
    for key in content:
        if key not in known:
            shown = key if isinstance(key, str) else excerpt(key)
            problems.add(f"{where}: " + unknown_name("key", shown, [name for name in known if name != "flags"]))
    if "strategies" not in content:
        problems.add(f"{where}: strategies is missing; name one at least, e.g. strategies: [dropout, karmma]")
    rest = {"strategies": [], **{key: value for key, value in content.items() if key in known}}
    try:
        spec = pydantic.TypeAdapter(SweepSpec).validate_python(rest)
    except pydantic.ValidationError as error:
        for fault in error.errors(include_url=False):
            place = ".".join(str(part) for part in fault["loc"])
            said = fault["msg"].removeprefix("Value error, ")
            problems.add(f"{where}: {place} = {excerpt(fault['input'])}: {said}")
        problems.raise_if_any()
        raise
    if "strategies" in content:
        spec.check(problems)
    problems.raise_if_any()
    return spec


def saved_spec(out: Path) -> SweepSpec:
    """The spec of the sweep that was begun in a folder. Raises ConfigError where none was."""
    path = out / SPEC_FILE
    if not path.exists():
        raise ConfigError(f"--resume: no sweep was begun in {out}. Give a file or --strategies, or the right --out.")
    return make_spec(read_spec(path), str(path))


def _own_fields(strategy: str) -> "tuple[dataclasses.Field[Any], ...]":
    """The own options of a strategy, none where there is no such strategy."""
    try:
        return dataclasses.fields(find("strategy", strategy)[0].Options)
    except ConfigError:
        return ()
