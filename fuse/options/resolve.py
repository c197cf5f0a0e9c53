"""From a strategy's name, a recipe and layers of what people ask for to the frozen options of one run.

Later layers win: defaults of the parts < recipe < the store's recommendations < settings file < flags. Every name
belongs to exactly one section of the run's options; a name that no section has is refused, with what has it.
"""

import dataclasses
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import pydantic

from mmcache.common.settings import check_size
from mmcache.fuse.data.samplers import SAMPLERS
from mmcache.fuse.options.components import Components, choose, find
from mmcache.fuse.options.fields import fields_of
from mmcache.fuse.options.options import Options
from mmcache.fuse.options.owners import refusal
from mmcache.fuse.options.recipes import PUBLISHED, RECIPES, recipe_layers
from mmcache.fuse.options.shared import READ_BY_PARTS, SHARED, TeacherOptions
from mmcache.fuse.parts.part import NoOptions
from mmcache.store.ground.errors import Problems
from mmcache.store.ground.text import excerpt

Layers = Mapping[str, Mapping[str, Any]]
_CHOICES = ("fusion", "handler", "head", "pool", "sampler")
_SHOWN = 20  # unknown options of one layer that are named one by one
_LONGEST_NAME = 80


@dataclasses.dataclass(frozen=True)
class Resolved:
    """Options, and what was not used of those layers that may name more than a run has."""

    options: Options
    unused: dict[str, str]  # option -> why it is not used


def resolve_options(strategy: str, layers: Layers, recipe: str = PUBLISHED) -> Options:
    """The options of a run. Raises ConfigError naming everything that is wrong: names, values, combinations."""
    return resolve(strategy, layers, recipe).options


def resolve(strategy: str, layers: Layers, recipe: str = PUBLISHED, lenient: Collection[str] = ()) -> Resolved:
    """As resolve_options.

    Args:
        lenient: the layers whose options are left out where the run does not have them, such as those that a sweep
            gives to all its strategies.
    """
    problems = Problems()
    problems.check_name("recipe", recipe, RECIPES)
    problems.raise_if_any()
    found, name, record = find("strategy", strategy)
    own = recipe_layers(found, recipe)
    asked = _Asked.of(layers, problems)
    values = _merged(own) | asked.values
    _settle_target(values, asked.values)
    chosen = {what: _name(values.get(what), _default(what)) for what in _CHOICES}
    components = choose(found, chosen, {"strategy": record} if record is not None else {}, problems)
    if "fusion" in components.plugins:
        values["fusion"] = components.plugins["fusion"].name  # runs keep names, not paths
    kinds = _sections(components)
    owners = _owners_of(kinds, components)
    unused: dict[str, str] = {}
    unknown: Counter[str] = Counter()
    for option in list(asked.values):
        where = asked.where[option]
        if _place_of(option, asked.section.get(option), owners, where, problems) is not None:
            continue
        del values[option]
        unknown[where] += where not in lenient
        if where in lenient:
            unused[option] = refusal(option, name, chosen, owners)
        elif unknown[where] <= _SHOWN:
            problems.add(f"{where}: {refusal(option, name, chosen, owners)}")
    for where, count in unknown.items():
        if count > _SHOWN:
            problems.add(f"{where}: {count - _SHOWN} more unknown options")
    sections = {}
    for section, kind in kinds.items():
        given = {
            field.name: values[field.name]
            for field in fields_of(kind)
            if _is_given(field.name, section, owners, values)
        }
        sections[section] = _built(kind, given, asked.where, problems)
    problems.raise_if_any()
    options = Options(strategy=name, recipe=recipe, components=components, **{"teacher": None, **sections})
    options = _settle_fold(options, problems)
    _check(options, asked.values, problems)
    problems.raise_if_any()
    return Resolved(options, unused)


@dataclasses.dataclass(frozen=True)
class _Asked:
    """What people ask for: option -> value, the layer that it comes from, and its section where one is named."""

    values: dict[str, Any]
    where: dict[str, str]
    section: dict[str, str]

    @classmethod
    def of(cls, layers: Layers, problems: Problems) -> "_Asked":
        values: dict[str, Any] = {}
        where: dict[str, str] = {}
        sections: dict[str, str] = {}
        for layer, given in layers.items():
            check_size(given, layer)
            odd = [key for key in given if not isinstance(key, str) or len(key) > _LONGEST_NAME]
            for key in odd[:_SHOWN]:
                problems.add(f"{layer}: unknown option {excerpt(key)}")
            for key, value in given.items():
                if key not in odd and value is not None:
                    section, _, name = key.rpartition(".")
                    values[name], where[name] = value, layer
                    if section:
                        sections[name] = section
        return cls(values, where, sections)


def _merged(layers: Layers) -> dict[str, Any]:
    return {name: value for layer in layers.values() for name, value in layer.items()}


def _default(choice: str) -> str:
    kind = SHARED["masks" if choice == "sampler" else "network"]
    return next(str(field.default) for field in fields_of(kind) if field.name == choice)


def _name(value: Any, otherwise: str) -> str:
    """The name of a part, or `otherwise` for a value that is not text, which _built reports as an error."""
    return value if isinstance(value, str) else otherwise


def _sections(components: Components) -> dict[str, type]:
    teacher = {"teacher": TeacherOptions} if components.strategy.teacher is not None else {}
    return {**SHARED, **teacher, **components.own_options}


def _owners_of(kinds: Mapping[str, type], components: Components) -> dict[str, list[str]]:
    """Option -> the sections that have it."""
    owners: dict[str, list[str]] = {}
    unread = set(READ_BY_PARTS) - components.reads
    for section, kind in kinds.items():
        for field in fields_of(kind):
            if section != "network" or field.name not in unread:
                owners.setdefault(field.name, []).append(section)
    return owners


def _place_of(
    option: str, section: str | None, owners: dict[str, list[str]], where: str, problems: Problems
) -> str | None:
    """The section that has an option; None where none has.

    Args:
        section: the one that was asked for, as in network.width; of several owners it becomes the only one.
    """
    found = owners.get(option, [])
    if section in found:
        owners[option] = found = [section]
    elif section is not None and found:
        problems.add(f"{where}: {section} has no option {option}. It belongs to {' and '.join(found)}")
    elif len(found) > 1:
        problems.add(f"{where}: {option} is ambiguous: {' and '.join(found)} have an option of that name")
    return found[0] if found else None


def _is_given(name: str, section: str, owners: Mapping[str, list[str]], values: Mapping[str, Any]) -> bool:
    return name in values and section in owners.get(name, [])


def _built(kind: type, given: dict[str, Any], where: Mapping[str, str], problems: Problems) -> Any:
    """The options of one section; its defaults where a value is wrong, which is noted."""
    try:
        return pydantic.TypeAdapter(kind).validate_python(given)
    except pydantic.ValidationError as error:
        for fault in error.errors(include_url=False):
            name = str(fault["loc"][0]) if fault["loc"] else ""
            detail = fault["msg"].removeprefix("Value error, ")
            if fault["type"] in ("list_type", "tuple_type"):
                detail += ", such as [1,2]"
            if fault["type"] == "literal_error":
                detail = f"allowed are {fault['ctx']['expected'].replace(chr(39), '')}"
            told = f"{where[name]}: {name} = {excerpt(fault['input'])}" if name in where else name
            problems.add(f"{told}: {detail}")
        return kind() if kind is not NoOptions else NoOptions()


def _settle_target(values: dict[str, Any], asked: Mapping[str, Any]) -> None:
    """`--target M` asks for the sampler that drops M alone, as MMT does, where the strategy's own has no target."""
    current = SAMPLERS.get(str(values.get("sampler", "none")))
    if current is None or values.get("sampler", "none") == "none" or current.takes_target:
        return
    if asked.get("target") is not None and "sampler" not in asked:
        values["sampler"] = "target_only"


def _settle_fold(options: Options, problems: Problems) -> Options:
    """The protocol of a leave-one-group-out fold."""
    data = options.data
    if data.fold is None:
        return options
    if data.group is None:
        problems.add(f"--fold {data.fold} needs --group COLUMN: whose value it is, as --group person")
        return options
    division = f"{data.group}={data.fold}"
    if data.protocol not in (None, division):
        problems.add(f"--fold divides the segments itself: leave out --protocol {data.protocol}")
    return options.replace(protocol=division)


def _check(options: Options, asked: Mapping[str, Any], problems: Problems) -> None:
    """Add every combination that cannot work."""
    network, data, parts = options.network, options.data, options.components
    if "heads" in parts.reads and network.width % network.heads:
        problems.add(f"--width {network.width} is not a multiple of --heads {network.heads}")
    if parts.head.reads_tokens and not parts.fusion.keeps_tokens:
        problems.add(
            f"the head {network.head} reads tokens, and the fusion {network.fusion} keeps none: use head linear"
        )
    for part in parts.network:
        part.check(options, problems)
    parts.strategy.check(options, problems)
    step = parts.strategy.test_time
    if step is not None and not any(part.normed(options) for part in parts.network):
        problems.add(
            f"{step} adapts LayerNorms, and fusion {network.fusion} with head {network.head} has none: add head_norm"
        )
    if options.masks.sampler == "target_only":
        if options.target is None:
            problems.add("the sampler target_only needs --target M")
        elif options.drop == 0 and "drop" not in asked:
            problems.add(
                f"--target {options.target} needs --drop P: {options.name} has no rate of its own "
                "(--drop 0 trains without dropping anything, as MMT does at p = 0)"
            )
    if data.train_modalities == []:
        problems.add("train_modalities names none, and labels must be learned from some: leave it out for all")
    if network.freeze and options.run.init_from is None and parts.strategy.init_from is None:
        problems.add(
            f"freeze needs weights to start from, and {options.name} trains none first: give --set init_from=RUN"
        )
    if data.validation == 0 and options.optimiser.patience > 0:
        problems.add("patience needs segments that training does not learn from, and --validation 0 leaves none")
    _check_teachers(options, problems)


def _check_teachers(options: Options, problems: Problems) -> None:
    teacher, need = options.teacher, options.components.strategy.teacher
    if teacher is None or need is None:
        return
    if len(options.teacher_runs) > 1 and not need.several:
        problems.add(f"{options.name} learns from one teacher, and --teacher names {len(options.teacher_runs)}")
    if teacher.teacher_modalities is not None:
        if not teacher.teacher_modalities:
            problems.add("teacher_modalities names none, and a teacher reads some: leave it out for the run's own")
        elif options.teacher_runs:
            problems.add("teacher_modalities is for a teacher that is trained first, and --teacher names a run that is")
        elif not options.asks_teacher:
            problems.add(f"teacher_modalities: no loss of {options.name} asks a teacher; leave it out")
    if options.data.validation == 0 and options.asks_teacher:
        if teacher.calibrate:
            problems.add("calibrate needs segments that training does not learn from, and --validation 0 leaves none")
        if getattr(options.own, "ensemble", "") == "dataset":
            problems.add(
                "ensemble dataset needs segments that training does not learn from, and --validation 0 leaves none"
            )
