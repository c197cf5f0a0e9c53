"""Options are frozen, changed by replacing, and say which run they are."""

import dataclasses
from pathlib import Path

import pytest

from mmcache.fuse.options.fields import fields_of, help_of, is_place
from mmcache.fuse.options.options import SECTIONS, Options
from mmcache.fuse.options.resolve import resolve_options
from mmcache.fuse.options.shared import PLACES
from mmcache.fuse.strategies import STRATEGIES


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_options_are_frozen(strategy: str) -> None:
    options = resolve_options(strategy, {})
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.strategy = "another"  # type: ignore[misc]
    for section in SECTIONS:
        part = getattr(options, section)
        for field in fields_of(type(part)) if part is not None else ():
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(part, field.name, None)


def test_no_two_runs_share_a_value_that_can_change() -> None:
    one, other = (resolve_options("dropout", {}) for _ in range(2))
    one.data.train_missing["rgb"] = 0.5
    assert other.data.train_missing == {}
    assert resolve_options("dropout", {}).data.train_missing == {}


def test_replacing_changes_a_copy() -> None:
    options = resolve_options("karmma", {})
    changed = options.replace(width=64, epochs=3, seed=4, alpha=0.5, s_mode="missing", drop=0.1, teacher=Path("runs/a"))
    assert (changed.network.width, changed.optimiser.epochs, changed.run.seed) == (64, 3, 4)
    assert (changed.own.alpha, changed.handler.s_mode, changed.drop) == (0.5, "missing", 0.1)
    assert changed.teacher_runs == [Path("runs/a")]
    assert options == resolve_options("karmma", {})
    for name in ("rec_slots", "block_norm", "colour"):
        with pytest.raises(KeyError, match=name):
            options.replace(**{name: 1})


def test_places_are_where_a_run_lies_or_is_computed() -> None:
    assert set(PLACES) == {"store", "out", "init_from", "device", "resident", "tensorboard", "teacher"}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_identity_is_of_what_shapes_the_result(strategy: str) -> None:
    """Every option but places: where a run lies makes no other run of it."""
    options = resolve_options(strategy, {})
    identity, places = options.identity("store"), []
    for _, field, value in options.items():
        changed = options.replace(**{field.name: not value if isinstance(value, bool) else "another"})
        assert (changed.identity("store") == identity) == is_place(field), field.name
        places += [field.name] * is_place(field)
    assert set(places) == set(PLACES) - ({"teacher"} if options.teacher is None else set())
    assert options.identity("another store") != identity
    assert dataclasses.replace(options, strategy="another").identity("store") != identity


def test_a_run_is_the_same_by_whichever_recipe_its_values_came() -> None:
    matched = resolve_options("dropout", {}, "matched")
    published = resolve_options("dropout", {"flags": matched.flat()}, "published")
    assert published.identity("store") == matched.identity("store")
    assert published != matched


def sections(options: Options) -> list[type]:
    return [type(part) for name in SECTIONS if (part := getattr(options, name)) is not None]


def test_every_option_has_a_sentence() -> None:
    kinds = {kind for strategy in STRATEGIES for kind in sections(resolve_options(strategy, {}))}
    fields = [field for kind in kinds for field in fields_of(kind)]
    assert len(fields) > 80
    for field in fields:
        assert help_of(field)[:1].isupper() or help_of(field)[:1] in "ka", field.name
        assert help_of(field).endswith("."), field.name
