"""An option that a run does not have is refused, and the message names what has it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from mmcache.fuse.data.samplers import SAMPLERS
from mmcache.fuse.options.fields import fields_of, option
from mmcache.fuse.options.owners import every_option
from mmcache.fuse.options.recipes import RECIPES
from mmcache.fuse.options.resolve import resolve, resolve_options
from mmcache.fuse.options.shared import SHARED, TeacherOptions
from mmcache.fuse.parts.fusions import FUSIONS
from mmcache.fuse.parts.handlers import HANDLERS
from mmcache.fuse.parts.heads import HEADS
from mmcache.fuse.parts.pools import POOLS
from mmcache.fuse.strategies import STRATEGIES, Strategy
from mmcache.fuse.strategies.zeros import Zeros
from mmcache.store import ConfigError

MAP = "the handler prompt (strategy map) and the handler prompt (strategy map-attention)"
REFUSED = [
    ("mmt", {"s_mode": "missing"}, "has no option s_mode. It belongs to the handler karmma (strategy karmma)"),
    ("mmt", {"s_mode": "missing"}, "mmt (handler token, fusion transformer, head per_modality, pool none) has no"),
    ("karmma", {"rec_slots": "all"}, "It belongs to the handler reconstruct (strategy actionmae)"),
    ("mmt", {"prompt_length": 4}, f"It belongs to {MAP}"),
    ("zeros", {"alpha": 0.5}, "It belongs to the strategy karmma and the strategy radevski"),
    ("dropout", {"momentum": 0.9}, "It belongs to the strategy macjepa"),
    ("dropout", {"mad": 1.0}, "It belongs to the strategy mmanet"),
    ("radevski", {"mad": 1.0}, "It belongs to the strategy mmanet"),
    ("zeros", {"align_share": 0.5}, "It belongs to the strategy mmg"),
    ("zeros", {"shared": 1.0}, "It belongs to the strategy shaspec"),
    ("mmt", {"midl_eps": 1e-5}, "It belongs to the strategy midl"),
    ("zeros", {"reconstruction": 1.0}, "the strategy actionmae, the strategy compass and the strategy cmpt"),
    (
        "zeros",
        {"teacher": "runs/a"},
        "It belongs to the strategy karmma, the strategy radevski and the strategy mmanet",
    ),
    ("zeros", {"replace_shares": [0, 1]}, "It belongs to the handler token"),
    ("zeros", {"proxy_dropout": 0.1}, "It belongs to the handler proxy"),
    ("zeros", {"class_tokens": True}, "It belongs to the fusion mbt"),
    ("zeros", {"fusion_layer": 1}, "It belongs to the fusion mbt"),
    ("macjepa", {"fusion": "sum", "cls_is_query": True}, "It belongs to the fusion transformer"),
    ("zeros", {"head_norm": True}, "It belongs to the head linear"),
    ("zeros", {"token_dropout": 0.3}, "It belongs to the head per_modality"),
    ("zeros", {"pool_depth": 1}, "It belongs to the pool transformer"),
    (
        "dropout",
        {"fusion": "sum", "head": "linear", "depth": 3},
        "depth is not used: the fusion sum and the handler zeros do not read it. It is read by ",
    ),
    ("dropout", {"block_norm": "post"}, "It is read by the pool transformer and the handler reconstruct (strategy"),
    (
        "zeros",
        {"drop": 0.5},
        "drop is not used: zeros draws its masks by the sampler none, which has no drop. Leave it",
    ),
    ("skip", {"target": "rgb"}, "choose the sampler target_only and the sampler pattern_table by --set sampler=NAME"),
    ("dropout", {"sampler": "uniform_subset", "drop": 0.3}, "by the sampler uniform_subset, which has no drop"),
    ("dropout", {"handler": "karmma"}, "the handler karmma belongs to the strategy karmma; allowed here are zeros, "),
    ("dropout", {"head": "pooler"}, "the head pooler belongs to the strategy map and map-attention; allowed here are"),
    ("zeros", {"test_time": "tent"}, "unknown option 'test_time'"),
    ("zeros", {"epcohs": 3}, "unknown option 'epcohs'. Did you mean 'epochs'?"),
    ("zeros", {"s_moed": "missing"}, "unknown option 's_moed'. Did you mean 's_mode'?"),
    ("mmt", {"drpo": 0.3}, "unknown option 'drpo'. Did you mean 'drop'?"),
]
_OWNER = re.compile(r"the (strategy|handler|fusion|head|pool|sampler) ([\w-]+)(?: \(strategy ([\w-]+)\))?")


@pytest.mark.parametrize(("strategy", "given", "message"), REFUSED)
def test_an_option_of_another_is_refused_with_what_has_it(strategy: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_options(strategy, {"flags": given})
    assert message in str(caught.value)


def missing(strategy: str, recipe: str) -> list[str]:
    """The options that a strategy, with the parts of a recipe, does not have."""
    has = resolve_options(strategy, {}, recipe).flat()
    return [name for name in every_option() if name not in has]


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_option_reaches_a_part_that_does_not_declare_it(strategy: str, recipe: str) -> None:
    """Every option of mmcache is one of the run's, or it is refused in words that name what has it."""
    plain = resolve_options(strategy, {}, recipe)
    lacks = missing(strategy, recipe)
    assert len(lacks) >= 20
    assert set(plain.flat()) | set(lacks) == set(every_option())
    if plain.masks.sampler != "none" and "target" in lacks:
        lacks.remove("target")  # it asks for the sampler that has one, see test_targets.py
    given = dict.fromkeys(lacks, 1)
    left_out = resolve(strategy, {"all": given}, recipe, lenient=["all"])
    assert left_out.options == plain
    assert set(left_out.unused) == set(given)
    for name, told in left_out.unused.items():
        with pytest.raises(ConfigError) as caught:
            resolve_options(strategy, {"all": {name: 1}}, recipe)
        assert f"all: {told}" == str(caught.value)
        assert re.search(rf"\b{name} is not used: |has no option {name}\. It belongs to ", told)
        assert _OWNER.search(told.rpartition("read it")[2] if "do not read it" in told else told)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_option_that_a_run_has_can_be_given(strategy: str) -> None:
    plain = resolve_options(strategy, {})
    assert resolve_options(strategy, {"flags": plain.flat()}).flat() == plain.flat()


def hints() -> dict[tuple[str, str], set[str]]:
    """(option, owner as a message names it) -> strategies whose refusal names it."""
    found: dict[tuple[str, str], set[str]] = {}
    for strategy in STRATEGIES:
        given = dict.fromkeys(missing(strategy, "published"), 1)
        given.pop("target", None)
        for name, told in resolve(strategy, {"all": given}, lenient=["all"]).unused.items():
            hint = re.split(r"belongs to |read by |or choose ", told)[1]
            for owner in _OWNER.finditer(hint):
                found.setdefault((name, owner.group()), set()).add(strategy)
    return found


def test_what_a_refusal_names_has_the_option_indeed() -> None:
    checked = hints()
    assert len(checked) > 60
    for name, owner in checked:
        match = _OWNER.fullmatch(owner)
        assert match is not None
        what, chosen, of = match.groups()
        strategy = chosen if what == "strategy" else of or "dropout"
        fitting = {"head": "linear", "depth": 2, "target": "rgb", "drop": 0.5}
        layers = {"fitting": fitting, "flags": {} if what == "strategy" else {what: chosen}}
        if what in ("strategy", "head"):
            del fitting["head"]
        assert resolve(strategy, layers, lenient=["fitting"]).options.has(name), (name, owner)


def named_options(strategy: type[Strategy]) -> Iterator[tuple[str, str, set[str]]]:
    """Section, what is chosen for it, and the names of its options: of everything that a run may choose."""
    tables: dict[str, dict[str, Any]] = {
        **{section: {"shared": kind} for section, kind in SHARED.items()},
        "teacher": {"teacher": TeacherOptions} if strategy.teacher is not None else {},
        "own": {"own": strategy.Options},
        "handler": {name: part.Options for name, part in {**HANDLERS, **strategy.handlers}.items()},
        "fusion": {name: part.Options for name, part in FUSIONS.items()},
        "head": {name: part.Options for name, part in {**HEADS, **strategy.heads}.items()},
        "pool": {name: part.Options for name, part in POOLS.items() if part is not None},
        "sampler": {name: sampler.Options for name, sampler in SAMPLERS.items()},
    }
    for section, choices in tables.items():
        for name, kind in choices.items():
            yield section, name, {field.name for field in fields_of(kind)}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_names_are_unique_within_a_run(strategy: str) -> None:
    """For every combination of parts: a run has one part a section, so pairs of sections are all that can meet."""
    named = list(named_options(STRATEGIES[strategy]))
    assert len(named) >= 25
    for section, one, names in named:
        for other, another, others in named:
            assert section == other or not names & others, (section, one, other, another)


def test_a_name_that_two_sections_have_is_ambiguous(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a plugin may bring it about."""

    class Mine(Zeros):
        @dataclass(frozen=True)
        class Options:
            width: int = option(3, "A width of its own.")

    monkeypatch.setitem(STRATEGIES, "mine", Mine)
    with pytest.raises(ConfigError, match="flags: width is ambiguous: network and own have an option of that name"):
        resolve_options("mine", {"flags": {"width": 8}})


@pytest.mark.parametrize(
    ("section", "reaches"), [("network", ("network", 8, 3)), ("own", ("own", 384, 8))], ids=["network", "own"]
)
def test_its_section_says_which_is_meant(
    section: str, reaches: tuple[str, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Mine(Zeros):
        @dataclass(frozen=True)
        class Options:
            width: int = option(3, "A width of its own.")

    monkeypatch.setitem(STRATEGIES, "mine", Mine)
    options = resolve_options("mine", {"flags": {f"{section}.width": 8}})
    assert (section, options.network.width, options.own.width) == reaches


def test_a_section_that_does_not_have_the_option_is_refused() -> None:
    assert resolve_options("zeros", {"flags": {"network.width": 64}}).network.width == 64
    for section in ("own", "banana"):
        with pytest.raises(ConfigError, match=f"flags: {section} has no option width. It belongs to network"):
            resolve_options("zeros", {"flags": {f"{section}.width": 64}})
