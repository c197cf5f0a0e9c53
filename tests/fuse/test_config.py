import pytest

from mmcache.fuse.config import make_config, teacher_configs
from mmcache.fuse.strategies import STRATEGIES
from mmcache.store.ground.errors import ConfigError


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_preset_resolves(strategy: str) -> None:
    config = make_config(strategy, {})
    for option, value in STRATEGIES[strategy].options.items():
        assert getattr(config, option) == value


def test_karmma_follows_the_paper() -> None:
    """methods.md 3.2: student d=384, 1 block; teacher d=768, 2 blocks, 8 heads, attention dropout .3, drop .5."""
    student = make_config("karmma", {})
    assert (student.width, student.depth, student.alpha, student.clip, student.weight_decay) == (384, 1, 0.7, 2.0, 0.01)
    teacher = teacher_configs(student, {}, ["rgb"])[0]
    assert teacher.strategy == "karmma-teacher"
    assert (teacher.width, teacher.depth, teacher.heads, teacher.attention_dropout) == (768, 2, 8, 0.3)
    assert (teacher.drop, teacher.law, teacher.fill, teacher.ffn_ratio, teacher.k) == (
        0.5,
        "bernoulli_keep_one",
        "skip",
        1,
        300,
    )


def test_flags_win_over_settings_over_preset() -> None:
    layers = {"file": {"drop": 0.3, "lr": 0.01}, "flags": {"lr": 0.02, "epochs": None}}
    config = make_config("dropout", layers)
    assert (config.drop, config.lr, config.epochs) == (0.3, 0.02, 100)


def test_teacher_takes_schedule_and_data_from_flags_but_not_the_shape() -> None:
    layers = {"file": {"width": 64, "heads": 4}, "flags": {"width": 32, "epochs": 7, "seed": 3, "alpha": 0.5}}
    student = make_config("karmma", layers)
    teacher = teacher_configs(student, layers, ["rgb"])[0]
    assert (student.width, teacher.width) == (32, 64)
    assert (teacher.epochs, teacher.seed, teacher.alpha) == (7, 3, 1.0)


def test_all_mistakes_are_reported_at_once() -> None:
    flags = {"fusion": "transformr", "fill": "nothing", "width": 100, "heads": 7, "law": "target_only"}
    with pytest.raises(ConfigError) as caught:
        make_config("zeros", {"flags": flags})
    message = str(caught.value)
    assert "4 things to put right" in message
    assert "unknown fusion 'transformr'. Did you mean 'transformer'?" in message
    assert "unknown fill 'nothing'" in message
    assert "--width 100 is not a multiple of --heads 7" in message
    assert "target_only needs --target M" in message


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"drop": 1.0}, "drop = 1.0: Input should be less than 1"),
        ({"epochs": 0}, "epochs = 0: Input should be greater than or equal to 1"),
        ({"epcohs": 3}, "unknown option 'epcohs'. Did you mean 'epochs'?"),
        ({"lr": "fast"}, "lr = 'fast': Input should be a valid number"),
        ({"alpha": 0.5}, "zeros has no teacher: give --teacher RUN"),
    ],
)
def test_wrong_options_say_what_came_and_what_is_allowed(flags: dict, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_config("zeros", {"flags": flags})
    assert message in str(caught.value)


def test_unknown_strategy_gets_a_hint() -> None:
    with pytest.raises(ConfigError, match="unknown strategy 'karma'\\. Did you mean 'karmma'"):
        make_config("karma", {})


def test_identity_depends_on_what_not_on_where() -> None:
    one = make_config("mmt", {})
    assert one.identity("store") == make_config(
        "mmt", {"f": {"out": "x", "device": "cuda", "resident": "disk"}}
    ).identity("store")
    assert one.identity("store") != make_config("mmt", {"f": {"drop": 0.3}}).identity("store")
    assert one.identity("store") != one.identity("other store")
