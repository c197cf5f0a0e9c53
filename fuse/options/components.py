"""The classes that the names of a strategy and its parts stand for: built in, or plugins named on the command line."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from mmcache.common.plugins import PluginKind, PluginRecord, installed_plugins, is_file_spec, load_plugin
from mmcache.fuse.data.samplers import SAMPLERS, Sampler
from mmcache.fuse.parts.fusions import FUSIONS, Fusion
from mmcache.fuse.parts.handlers import HANDLERS, Handler
from mmcache.fuse.parts.heads import HEADS, Head
from mmcache.fuse.parts.part import NoOptions, Part
from mmcache.fuse.parts.pools import POOLS, Pool
from mmcache.fuse.strategies import STRATEGIES, Strategy
from mmcache.store.ground.errors import ConfigError, Problems, unknown_name
from mmcache.store.ground.text import excerpt

Found = TypeVar("Found")


def _kind(name: str, base: type) -> PluginKind:
    def fault(found: Any) -> str | None:
        return None if isinstance(found, type) and issubclass(found, base) else f"it is no subclass of {base.__name__}"

    return PluginKind(
        name, f"mmcache.{name.replace('strategy', 'strategie')}s", f"a subclass of {base.__name__}", fault
    )


KINDS = {"strategy": _kind("strategy", Strategy), "fusion": _kind("fusion", Fusion)}
_BUILT_IN: dict[str, Mapping[str, Any]] = {"strategy": STRATEGIES, "fusion": FUSIONS}
# Plugins that a person named in this process: (kind, name) -> class and record. A run folder adds none.
_named: dict[tuple[str, str], tuple[Any, PluginRecord]] = {}


@dataclasses.dataclass(frozen=True)
class Components:
    """The classes of one run.

    Attributes:
        plugins: kind -> record, for those that are plugins.
    """

    strategy: type[Strategy]
    handler: type[Handler]
    fusion: type[Fusion]
    head: type[Head]
    pool: type[Pool] | None
    sampler: Sampler
    plugins: dict[str, PluginRecord] = dataclasses.field(default_factory=dict)

    @property
    def network(self) -> tuple[type[Part], ...]:
        """The chosen parts of the network."""
        return (self.handler, self.fusion, self.head, *([self.pool] if self.pool is not None else []))

    @property
    def reads(self) -> frozenset[str]:
        """The shared network options that the chosen parts read."""
        return frozenset().union(*(part.reads for part in self.network))

    @property
    def sources(self) -> dict[str, str]:
        """Kind -> source hash of every plugin."""
        return {kind: record.sha256 for kind, record in self.plugins.items()}

    @property
    def own_options(self) -> dict[str, type]:
        """Section -> options dataclass of the strategy and of every chosen part."""
        return {
            "own": self.strategy.Options,
            "handler": self.handler.Options,
            "fusion": self.fusion.Options,
            "head": self.head.Options,
            "pool": NoOptions if self.pool is None else self.pool.Options,
            "sampler": self.sampler.Options,
        }


def name_plugins(specs: Iterable[str], kind: str | None = None) -> None:
    """Load plugins that a person named, so that runs that use them can be read.

    Args:
        specs: FILE.py:NAME, or names of entry points.
        kind: strategy or fusion; None = whichever it is.

    Raises:
        ConfigError: a file or name does not exist, or it is neither a strategy nor a fusion.
    """
    for spec in specs:
        if kind is not None:
            _load(spec, kind)
            continue
        faults = []
        for each in KINDS:
            try:
                _load(spec, each)
                break
            except ConfigError as error:
                faults.append(error)
        else:
            raise faults[0]


def load_records(records: Mapping[str, PluginRecord]) -> None:
    """In a worker: load the plugins that the command line of a sweep named, of the very same source."""
    for kind, record in records.items():
        _named[kind, record.name] = load_plugin(record.spec, KINDS[kind], record.sha256)


def find(kind: str, name: str) -> tuple[Any, str, PluginRecord | None]:
    """The class that a name of a strategy or fusion stands for, the name that runs keep, and its record if a plugin.

    Raises:
        ConfigError: the name is unknown, or its plugin cannot be loaded.
    """
    built_in = _BUILT_IN[kind]
    if name in built_in:
        return built_in[name], name, None
    if (kind, name) in _named:
        found, record = _named[kind, name]
        return found, name, record
    if is_file_spec(name) or name in installed_plugins(KINDS[kind].group):
        found, record = _load(name, kind)
        return found, record.name, record
    raise ConfigError(unknown_name(kind, name, [*built_in, *installed_plugins(KINDS[kind].group)]))


def named_plugin(kind: str, name: str, sha256: str) -> tuple[Any, PluginRecord]:
    """A plugin that a run used, if a person named it in this process.

    Raises:
        ConfigError: the command line does not name it, or its source has changed since the run.
    """
    if (kind, name) not in _named:
        raise ConfigError(
            f"its {kind} is the plugin '{name}', and nothing is imported because a run says so: name it again on the "
            f"command line, as --plugin path/to/file.py:{name}"
        )
    found, record = _named[kind, name]
    if record.sha256 != sha256:
        raise ConfigError(
            f"its {kind} is the plugin '{name}' of another source (sha256 {sha256[:12]}, here {record.sha256[:12]}): "
            "give the file that it was trained with, or train it again"
        )
    return found, record


def choose(
    strategy: type[Strategy], names: Mapping[str, Any], plugins: Mapping[str, PluginRecord], problems: Problems
) -> Components:
    """The classes of a run; where a name is wrong, that is noted and the default stands in its place.

    Args:
        names: fusion, handler, head, pool, sampler -> name.
    """
    plugins = dict(plugins)
    fusion: type[Fusion] = FUSIONS["transformer"]
    try:
        fusion, _, record = find("fusion", str(names["fusion"]))
        if record is not None:
            plugins["fusion"] = record
    except ConfigError as error:
        problems.add(str(error))
    handlers, heads = {**HANDLERS, **strategy.handlers}, {**HEADS, **strategy.heads}
    return Components(
        strategy=strategy,
        handler=_chosen("handler", names["handler"], handlers, "zeros", problems),
        fusion=fusion,
        head=_chosen("head", names["head"], heads, "shared", problems),
        pool=_chosen("pool", names["pool"], POOLS, "none", problems),
        sampler=_chosen("sampler", names["sampler"], SAMPLERS, "none", problems),
        plugins=plugins,
    )


def _chosen(what: str, given: Any, table: Mapping[str, Found], otherwise: str, problems: Problems) -> Found:
    name = given if isinstance(given, str) else excerpt(given, 40)
    owners = [key for key, each in STRATEGIES.items() if name in getattr(each, f"{what}s", {})]
    if name not in table and owners:
        problems.add(
            f"the {what} {name} belongs to the strategy {' and '.join(owners)}; allowed here are {', '.join(table)}"
        )
    elif name not in table:
        problems.check_name(what, name, table)
    return table.get(name, table[otherwise])


def _load(spec: str, kind: str) -> tuple[Any, PluginRecord]:
    found, record = load_plugin(spec, KINDS[kind])
    if record.name in _BUILT_IN[kind]:
        raise ConfigError(f"the plugin {spec} has the name of a built-in {kind}, '{record.name}': give it another one")
    _named[kind, record.name] = found, record
    return found, record
