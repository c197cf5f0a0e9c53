"""Which strategies and parts have an option that a run does not have: what to tell about it."""

from collections.abc import Iterable, Mapping

from mmcache.fuse.data.samplers import SAMPLERS
from mmcache.fuse.options.fields import fields_of
from mmcache.fuse.options.shared import READ_BY_PARTS, SHARED, TeacherOptions
from mmcache.fuse.parts.fusions import FUSIONS
from mmcache.fuse.parts.handlers import HANDLERS
from mmcache.fuse.parts.heads import HEADS
from mmcache.fuse.parts.part import Part
from mmcache.fuse.parts.pools import POOLS
from mmcache.fuse.strategies import STRATEGIES
from mmcache.store.ground.errors import unknown_name


def refusal(name: str, strategy: str, chosen: Mapping[str, str], known: Iterable[str]) -> str:
    """Why a run does not have the option `name`, and what has it.

    Args:
        chosen: part -> its name in this run.
        known: the options that the run has.
    """
    owners = _owners(name)
    if not owners:
        return unknown_name("option", name, sorted({*known, *every_option()}))
    if name in READ_BY_PARTS:
        parts = f"the fusion {chosen['fusion']} and the handler {chosen['handler']}"
        return f"{name} is not used: {parts} do not read it. It is read by {_listed(owners)}"
    if any(owner.startswith("the sampler") for owner in owners):
        return (
            f"{name} is not used: {strategy} draws its masks by the sampler {chosen['sampler']}, which has no {name}. "
            f"Leave it out, or choose {_listed(owners)} by --set sampler=NAME"
        )
    has = ", ".join(f"{part} {chosen[part]}" for part in ("handler", "fusion", "head", "pool"))
    return f"{strategy} ({has}) has no option {name}. It belongs to {_listed(owners)}"


def every_option() -> list[str]:
    """Every option that any run can have."""
    kinds = [*SHARED.values(), TeacherOptions, *(each.Options for each in STRATEGIES.values())]
    kinds += [part.Options for _, part in _parts()]
    kinds += [sampler.Options for sampler in SAMPLERS.values()]
    return sorted({field.name for kind in kinds for field in fields_of(kind)})


def _parts() -> list[tuple[str, type[Part]]]:
    """What messages call a part, and the part."""
    tables: dict[str, Mapping[str, type[Part] | None]]
    tables = {"handler": HANDLERS, "fusion": FUSIONS, "head": HEADS, "pool": POOLS}
    found = [(f"the {what} {name}", part) for what, table in tables.items() for name, part in table.items()]
    for strategy, each in STRATEGIES.items():
        for what in ("handler", "head"):
            owned = getattr(each, f"{what}s")
            found += [(f"the {what} {name} (strategy {strategy})", part) for name, part in owned.items()]
    return [(what, part) for what, part in found if part is not None]


def _owners(name: str) -> list[str]:
    """Who has an option."""
    owners = [what for what, part in _parts() if name in part.reads or _has(part.Options, name)]
    owners += [f"the strategy {key}" for key, each in STRATEGIES.items() if _has(each.Options, name)]
    owners += [f"the sampler {key}" for key, each in SAMPLERS.items() if _has(each.Options, name)]
    if _has(TeacherOptions, name):
        owners += [f"the strategy {key}" for key, each in STRATEGIES.items() if each.teacher is not None]
    return list(dict.fromkeys(owners))


def _has(kind: type, name: str) -> bool:
    return any(field.name == name for field in fields_of(kind))


def _listed(owners: list[str]) -> str:
    return ", ".join(owners[:-1]) + " and " + owners[-1] if len(owners) > 1 else owners[0]
