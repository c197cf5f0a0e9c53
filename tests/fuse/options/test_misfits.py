"""Options that do not fit together are refused with the reason, all at once."""

import typing

import pytest

from mmcache.fuse.options.fields import fields_of
from mmcache.fuse.options.options import SECTIONS
from mmcache.fuse.options.resolve import resolve, resolve_options
from mmcache.fuse.strategies import STRATEGIES
from mmcache.store import ConfigError

MISFITS = [
    ("zeros", {"fusion": "sum", "head": "per_modality"}, "reads tokens, and the fusion sum keeps none"),
    ("zeros", {"fusion": "mlp", "head": "gap"}, "the head gap reads tokens"),
    ("map", {"fusion": "mbt"}, "the handler prompt needs the fusion transformer"),
    ("macjepa", {"fusion": "sum"}, "the loss jepa needs a fusion with a class token and tokens; got sum"),
    ("zeros", {"fusion": "mbt", "depth": 2, "fusion_layer": 3}, "fusion_layer 3 is past --depth 2"),
    ("zeros", {"fusion": "mbt", "depth": 1}, "the fusion mbt at depth 1 has its modalities write"),
    ("mmt", {"replace_shares": [0, 1], "target": "rgb"}, "replace_shares replaces tokens of every modality"),
    ("map-attention", {"prompt_length": 5}, "prompt_length 5 is odd"),
    ("actionmae", {"rec_order": "packed"}, "rec_order packed needs rec_slots all"),
    ("actionmae", {"handler": "zeros"}, "the loss reconstruction needs the handler reconstruct; got zeros"),
    ("cmpt", {"handler": "zeros"}, "the loss reconstruction needs the handler proxy; got zeros"),
    ("compass", {"handler": "token"}, "the loss reconstruction needs the handler proxy; got token"),
    ("shaspec", {"handler": "zeros", "specific": 0}, "the loss shared needs the handler shaspec; got zeros"),
    ("shaspec", {"handler": "zeros", "shared": 0}, "the loss specific needs the handler shaspec; got zeros"),
    ("mmg", {"train_modalities": []}, "train_modalities names none"),
    ("mmg", {"align": 0, "align_share": 0.5}, "align_share needs the loss align"),
    ("mmg", {"align_share": 0.5, "epochs": 1}, "align_share needs an epoch to align in and one to learn labels in"),
    ("mmg", {"meta_share": 0.5}, "the loss prototypes and meta_share need each other"),
    ("mmg", {"prototypes": 1.0}, "the loss prototypes and meta_share need each other"),
    ("mmg", {"align_share": 0.6, "meta_share": 0.4, "prototypes": 1.0}, "leave no epoch to learn the labels in"),
    ("mmanet", {"teacher": ["a", "b"]}, "mmanet learns from one teacher, and --teacher names 2"),
    ("mmanet", {"validation": 0}, "the loss mar needs segments that training does not learn from"),
    ("karmma", {"calibrate": True, "validation": 0}, "calibrate needs segments that training does not learn from"),
    ("radevski", {"ensemble": "dataset", "validation": 0}, "ensemble dataset needs segments that training does not"),
    ("karmma", {"teacher_modalities": []}, "teacher_modalities names none, and a teacher reads some"),
    ("karmma", {"teacher_modalities": ["rgb"], "teacher": "a"}, "--teacher names a run that is"),
    ("karmma", {"teacher_modalities": ["rgb"], "alpha": 1.0}, "no loss of karmma asks a teacher; leave it out"),
    ("zeros", {"freeze": True}, "freeze needs weights to start from, and zeros trains none first"),
    ("zeros", {"validation": 0, "patience": 3}, "patience needs segments that training does not learn from"),
    ("midl", {"fusion": "sum", "head": "linear"}, "midl adapts LayerNorms"),
    ("dropout", {"sampler": "target_only"}, "the sampler target_only needs --target M"),
    ("compass", {"heads": 5}, "--width 384 is not a multiple of --heads 5"),
]


@pytest.mark.parametrize(("strategy", "options", "message"), MISFITS)
def test_a_misfit_is_refused_with_its_reason(strategy: str, options: dict, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_options(strategy, {"flags": options})
    assert message in str(caught.value)


def test_all_misfits_are_said_at_once() -> None:
    options = {"fusion": "sum", "head": "gap", "shared": 1.0, "freeze": True, "rec_end": "linaer", "lr": -1}
    with pytest.raises(ConfigError) as caught:
        resolve_options("zeros", {"flags": options})
    message = str(caught.value)
    assert "3 things to put right" in message
    for name in ("shared", "rec_end", "lr"):
        assert name in message
    with pytest.raises(ConfigError) as caught:
        resolve_options("zeros", {"flags": {**options, "shared": None, "rec_end": None, "lr": None}})
    assert "2 things to put right" in str(caught.value)


# Values that need another option beside them.
BESIDE = {"packed": {"rec_slots": "all"}}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_choice_has_an_allowed_default_and_takes_what_it_allows(strategy: str) -> None:
    plain = resolve_options(strategy, {})
    seen = 0
    for section in SECTIONS:
        part = getattr(plain, section)
        hints = typing.get_type_hints(type(part)) if part is not None else {}
        for field in fields_of(type(part)) if part is not None else ():
            if typing.get_origin(hints[field.name]) is not typing.Literal or not plain.has(field.name):
                continue
            allowed = typing.get_args(hints[field.name])
            assert field.default in allowed
            for value in allowed:
                given = {field.name: value, **BESIDE.get(value, {})}
                assert resolve_options(strategy, {"flags": given}).flat()[field.name] == value
            with pytest.raises(ConfigError, match=rf"flags: {field.name} = 'anohter': allowed are {allowed[0]}"):
                resolve_options(strategy, {"flags": {field.name: "anohter"}})
            seen += 1
    assert seen >= 6


@pytest.mark.parametrize(
    ("given", "expected"), [(None, []), ("runs/a", ["runs/a"]), (["runs/a", "runs/b"], ["runs/a", "runs/b"])]
)
def test_one_teacher_or_several(given: object, expected: list[str]) -> None:
    options = resolve("karmma", {"flags": {"teacher": given}}).options
    assert [str(run) for run in options.teacher_runs] == expected
