"""All options of one run, resolved: frozen, nested by what they configure, and changed by replacing."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmcache.fuse.options.components import Components
from mmcache.fuse.options.fields import fields_of, is_place, is_weight, varies
from mmcache.fuse.options.shared import (
    READ_BY_PARTS,
    DataOptions,
    MaskOptions,
    NetworkOptions,
    OptimiserOptions,
    RunOptions,
    TeacherOptions,
)

SECTIONS = (
    "data",
    "network",
    "masks",
    "optimiser",
    "run",
    "teacher",
    "own",
    "handler",
    "fusion",
    "head",
    "pool",
    "sampler",
)


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of one run.

    Attributes:
        strategy: its name, or FILE.py:NAME of a plugin.
        recipe: published or matched.
        data, network, masks, optimiser, run: shared by all strategies.
        teacher: of a strategy that learns from teachers; None for the others.
        own: the strategy's own.
        handler, fusion, head, pool, sampler: those of the chosen parts.
        components: the classes that the names stand for.
    """

    strategy: str
    recipe: str
    data: DataOptions
    network: NetworkOptions
    masks: MaskOptions
    optimiser: OptimiserOptions
    run: RunOptions
    teacher: TeacherOptions | None
    own: Any
    handler: Any
    fusion: Any
    head: Any
    pool: Any
    sampler: Any
    components: Components = dataclasses.field(repr=False, compare=False)

    @property
    def name(self) -> str:
        """The strategy's name; of a plugin, the name in its file."""
        return self.strategy.rpartition(":")[2]

    @property
    def drop(self) -> float:
        """The rate of the mask sampler, 0 where it has none."""
        return float(getattr(self.sampler, "drop", 0.0))

    @property
    def target(self) -> str | None:
        """The one modality that the mask sampler may drop, where it has one."""
        target: str | None = getattr(self.sampler, "target", None)
        return target

    @property
    def store(self) -> Path:
        """The store, which a resolved run always has."""
        assert self.data.store is not None
        return self.data.store

    @property
    def teacher_runs(self) -> list[Path]:
        """The runs that were named as teachers."""
        given = self.teacher.teacher if self.teacher is not None else None
        return [] if given is None else list(given) if isinstance(given, list) else [given]

    @property
    def asks_teacher(self) -> bool:
        """Whether any loss term reads a teacher."""
        return self.components.strategy.asks_teacher(self)

    def replace(self, **changes: Any) -> "Options":
        """With other values: `replace(out=..., epochs=3)`; each name is that of one option.

        Raises:
            KeyError: no section has the name.
        """
        sections: dict[str, Any] = {}
        for name, value in changes.items():
            section = next(s for s, field, _ in self.items() if field.name == name) if self.has(name) else None
            if section is None:
                raise KeyError(name)
            current = sections.get(section, getattr(self, section))
            sections[section] = dataclasses.replace(current, **{name: value})
        return dataclasses.replace(self, **sections)

    def has(self, name: str) -> bool:
        return any(field.name == name for _, field, _ in self.items())

    def items(self) -> "Iterator[tuple[str, dataclasses.Field[Any], Any]]":
        """Section, field and value of every option that this run has."""
        unread = set(READ_BY_PARTS) - self.components.reads
        for section in SECTIONS:
            part = getattr(self, section)
            if part is None:
                continue
            for field in fields_of(type(part)):
                if section != "network" or field.name not in unread:
                    yield section, field, getattr(part, field.name)

    def flat(self) -> dict[str, Any]:
        """Option -> value, without the strategy and the recipe."""
        return {field.name: value for _, field, value in self.items()}

    def nested(self) -> dict[str, Any]:
        """As config.yaml has it: plain values, section by section."""
        out: dict[str, Any] = {"strategy": self.strategy, "recipe": self.recipe}
        for section, field, value in self.items():
            out.setdefault(section, {})[field.name] = value
        plain: dict[str, Any] = json.loads(json.dumps(out, default=str))
        return plain

    def identity(self, origins: str) -> str:
        """What makes this run this run: every option that shapes its result, and `origins`.

        Args:
            origins: a digest of the tokens it trains on and of the runs that it builds on.
        """
        values = {f"{section}.{field.name}": value for section, field, value in self.items() if not is_place(field)}
        sources = self.components.sources
        text = json.dumps([self.name, sources, values, origins], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def used_weights(self) -> list[str]:
        """The weights of loss terms that are above 0: a weight of 0 leaves its term out."""
        return [field.name for _, field, value in self.items() if is_weight(field) and value > 0]

    def pack_key(self) -> str:
        """Runs with the same key have networks of one shape and losses of the same code."""
        values = {
            f"{section}.{field.name}": value
            for section, field, value in self.items()
            if not (is_place(field) and field.name != "device") and not varies(field)
        }
        return json.dumps([self.strategy, values], sort_keys=True, default=str)


def flat_saved(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Option -> value of the nested options in a config.yaml."""
    out: dict[str, Any] = {}
    for section in SECTIONS:
        part = saved.get(section)
        if isinstance(part, Mapping):
            out |= part
    return out
