"""The options of a run as its config.yaml has them, read back."""

from collections.abc import Mapping
from typing import Any

import pydantic

from mmcache.fuse.options.components import Components, choose, named_plugin
from mmcache.fuse.options.fields import fields_of
from mmcache.fuse.options.options import Options
from mmcache.fuse.options.recipes import RECIPES
from mmcache.fuse.options.shared import READ_BY_PARTS, SHARED, TeacherOptions
from mmcache.fuse.strategies import STRATEGIES
from mmcache.store.ground.errors import ConfigError, Problems
from mmcache.store.ground.text import excerpt

_SHOWN = 3  # faults that a message names


def options_from(
    saved: Mapping[str, Any], plugins: Mapping[str, Mapping[str, str]], strict: bool = True
) -> Options | None:
    """The options of a run.

    Args:
        saved: section -> option -> value, with the strategy and the recipe.
        plugins: kind -> name and sha256 of the plugins that the run used.
        strict: false = None where a plugin of the run was not named in this process, instead of an error.

    Raises:
        ConfigError: this version of mmcache does not have such options or values; or see `strict`.
    """
    problems = Problems()
    try:
        components = _components(saved, plugins, problems)
    except _NotNamed as error:
        if strict:
            raise ConfigError(str(error)) from None
        return None
    problems.check_name("recipe", str(saved.get("recipe")), RECIPES)
    _raise(problems)
    sections = _sections(saved, components, problems)
    options = Options(str(saved.get("strategy")), str(saved.get("recipe")), components=components, **sections)
    for part in (components.handler, components.fusion, components.head):
        part.check(options, problems)
    _raise(problems)
    return options


class _NotNamed(ConfigError):
    """The run uses a plugin that was not named in this process."""


def _components(saved: Mapping[str, Any], plugins: Mapping[str, Mapping[str, str]], problems: Problems) -> Components:
    """The classes of the run. Raises _NotNamed for a plugin that was not named."""
    network, masks = _mapping(saved, "network"), _mapping(saved, "masks")
    records = {}
    found: Any = None
    for kind, name in (("strategy", saved.get("strategy")), ("fusion", network.get("fusion"))):
        if kind in plugins:
            try:
                plugin, records[kind] = named_plugin(kind, str(name), str(plugins[kind].get("sha256")))
            except ConfigError as error:
                raise _NotNamed(str(error)) from None
            found = plugin if kind == "strategy" else found
    if found is None:
        name = saved.get("strategy")
        if not isinstance(name, str):
            raise ConfigError(f"the run's strategy is {excerpt(name, 40)}, no name")
        problems.check_name("strategy", name, STRATEGIES)
        _raise(problems)
        found = STRATEGIES[name]
    names = {name: network.get(name) for name in ("fusion", "handler", "head", "pool")}
    return choose(found, {**names, "sampler": masks.get("sampler")}, records, problems)


def _sections(saved: Mapping[str, Any], components: Components, problems: Problems) -> dict[str, Any]:
    """Section -> its options. Raises ConfigError naming what is unknown, missing or wrong."""
    teacher = {"teacher": TeacherOptions} if components.strategy.teacher is not None else {}
    kinds: dict[str, type] = {**SHARED, **teacher, **components.own_options}
    odd = sorted(str(name) for name in saved if name not in (*kinds, "strategy", "recipe"))
    unread = set(READ_BY_PARTS) - components.reads
    sections: dict[str, Any] = {"teacher": None}
    for section, kind in kinds.items():
        given = _mapping(saved, section)
        known = [f.name for f in fields_of(kind) if section != "network" or f.name not in unread]
        odd += [f"{section}.{name}" for name in given if name not in known]
        missing = [f"{section}.{name}" for name in known if name not in given]
        if missing:
            problems.add(f"{', '.join(missing[:_SHOWN])} is missing")
        try:
            values = {name: value for name, value in given.items() if name in known}
            sections[section] = pydantic.TypeAdapter(kind).validate_python(values)
        except pydantic.ValidationError as error:
            for fault in error.errors(include_url=False):
                where = ".".join(map(str, [section, *fault["loc"]]))
                problems.add(f"{where} = {excerpt(fault['input'], 40)}: {fault['msg']}")
    if odd:
        raise ConfigError(
            f"the run has options that this mmcache does not know: {excerpt(', '.join(odd))}. Another version made it: "
            "use that one, or train again"
        )
    _raise(problems)
    return sections


def _mapping(saved: Mapping[str, Any], section: str) -> Mapping[str, Any]:
    value = saved.get(section, {})
    if not isinstance(value, Mapping):
        raise ConfigError(f"the run's section '{section}' is {excerpt(value, 40)}, not options")
    return value


def _raise(problems: Problems) -> None:
    if problems.messages:
        told = "; ".join(problems.messages[:_SHOWN])
        raise ConfigError(f"the run has values that this mmcache does not take: {told}")
