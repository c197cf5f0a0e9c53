"""Options that do not fit together are refused with the reason, all at once."""

import dataclasses

import pytest

from mmcache.fuse.checks import CHOICES
from mmcache.fuse.config import FuseConfig, make_config
from mmcache.store import ConfigError

MISFITS = [
    ("zeros", {"fusion": "sum", "head": "per_modality"}, "reads tokens, and the fusion sum keeps none"),
    ("zeros", {"fusion": "mlp", "head": "gap"}, "the head gap reads tokens"),
    ("map", {"fusion": "mbt"}, "the fill prompt needs the fusion transformer"),
    ("macjepa", {"fusion": "sum"}, "cls_is_query needs the fusion transformer; sum has no CLS"),
    ("macjepa", {"fusion": "sum"}, "the loss jepa needs the fusion transformer"),
    ("zeros", {"class_tokens": True}, "class_tokens is of the fusion mbt; got transformer"),
    ("zeros", {"fusion_layer": 1}, "fusion_layer is of the fusion mbt; got transformer"),
    ("zeros", {"fusion": "mbt", "depth": 2, "fusion_layer": 3}, "fusion_layer 3 is past --depth 2"),
    ("map-attention", {"prompt_length": 5}, "prompt_length 5 is odd"),
    ("actionmae", {"rec_order": "packed"}, "rec_order packed needs rec_slots all"),
    ("zeros", {"reconstruction": 1.0}, "the loss reconstruction needs the fill reconstruct or proxy; got zeros"),
    ("zeros", {"shared": 1.0}, "the loss shared needs the fill shaspec; got zeros"),
    ("zeros", {"specific": 1.0}, "the loss specific needs the fill shaspec; got zeros"),
    ("mmg", {"train_modalities": []}, "train_modalities names none"),
    ("zeros", {"align_share": 0.5}, "align_share needs the loss align"),
    ("zeros", {"meta_share": 0.5}, "the loss prototypes and meta_share need each other"),
    ("zeros", {"prototypes": 1.0}, "the loss prototypes and meta_share need each other"),
    ("mmg", {"align_share": 0.6, "meta_share": 0.4, "prototypes": 1.0}, "leave no epoch to learn the labels in"),
    ("zeros", {"mad": 1.0}, "the loss mad asks a teacher, but zeros has no teacher: give --teacher RUN"),
    ("radevski", {"mad": 1.0}, "compares with one teacher's features, not with several"),
    ("mmanet", {"teacher": ["a", "b"]}, "compares with one teacher's features, not with several"),
    ("zeros", {"freeze": True}, "freeze needs weights to start from, and zeros trains none first"),
    ("midl", {"fusion": "sum", "head": "linear"}, "midl adapts LayerNorms"),
]


@pytest.mark.parametrize(("strategy", "options", "message"), MISFITS)
def test_a_misfit_is_refused_with_its_reason(strategy: str, options: dict, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_config(strategy, {"flags": options})
    assert message in str(caught.value)


def test_all_misfits_are_said_at_once() -> None:
    options = {"fusion": "sum", "head": "gap", "shared": 1.0, "mad": 1.0, "freeze": True, "rec_end": "linaer"}
    with pytest.raises(ConfigError) as caught:
        make_config("zeros", {"flags": options})
    message = str(caught.value)
    assert "5 things to put right" in message
    assert "unknown rec_end 'linaer'. Did you mean 'linear'?" in message


def test_every_choice_is_an_option_whose_default_is_allowed() -> None:
    fields = {field.name: field for field in dataclasses.fields(FuseConfig)}
    assert len(CHOICES) >= 15
    for option, allowed in CHOICES.items():
        assert fields[option].default in allowed
        for value in allowed:
            if (option, value) != ("rec_order", "packed"):
                assert getattr(make_config("mmt", {"flags": {option: value}}), option) == value


@pytest.mark.parametrize(
    ("given", "expected"), [(None, []), ("runs/a", ["runs/a"]), (["runs/a", "runs/b"], ["runs/a", "runs/b"])]
)
def test_one_teacher_or_several(given: object, expected: list[str]) -> None:
    config = make_config("karmma", {"flags": {"teacher": given}})
    assert [str(run) for run in config.teacher_runs] == expected
