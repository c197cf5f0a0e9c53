"""From a strategy's name and layers of what people ask for to the options of a run."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mmcache.fuse.options.options import Options
from mmcache.fuse.options.resolve import Layers, resolve, resolve_options
from mmcache.fuse.training.plan import plan_run
from mmcache.fuse.training.stores import Stores
from mmcache.store import ConfigError


@pytest.fixture(scope="module")
def store(write_small_store: Callable[..., Path]) -> Path:
    return write_small_store(["train"] * 8 + ["test"] * 4)


def with_teacher(store: Path, layers: Layers) -> tuple[Options, Options]:
    """A karmma and the teacher that is trained first."""
    flags = {**layers.get("flags", {}), "store": store}
    planned = plan_run("karmma", {**layers, "flags": flags}, "published", Stores())
    (teacher,) = planned.teachers
    return planned.options, teacher.options


def test_karmma_follows_the_paper(store: Path) -> None:
    """methods.md 3.2: student d=384, 1 block; teacher d=768, 2 blocks, 8 heads, attention dropout .3, drop .5."""
    student, teacher = with_teacher(store, {})
    network, optimiser = student.network, student.optimiser
    assert (network.width, network.depth, student.own.alpha) == (384, 1, 0.7)
    assert (optimiser.clip, optimiser.weight_decay) == (2.0, 0.01)
    network = teacher.network
    assert teacher.strategy == "karmma-teacher"
    assert (network.width, network.depth, network.heads, network.attention_dropout) == (768, 2, 8, 0.3)
    assert (teacher.drop, teacher.masks.sampler, network.handler) == (0.5, "bernoulli_keep_one", "skip")
    assert (network.ffn_ratio, teacher.data.k) == (1, 300)


def test_flags_win_over_settings_over_recipe() -> None:
    layers = {"file": {"drop": 0.3, "lr": 0.01}, "flags": {"lr": 0.02, "epochs": None}}
    options = resolve_options("dropout", layers)
    assert (options.drop, options.optimiser.lr, options.optimiser.epochs) == (0.3, 0.02, 100)


def test_teacher_takes_schedule_and_data_from_flags_but_not_the_shape(store: Path) -> None:
    layers = {"file": {"width": 64, "heads": 4}, "flags": {"width": 32, "epochs": 7, "seed": 3, "alpha": 0.5}}
    student, teacher = with_teacher(store, layers)
    assert (student.network.width, teacher.network.width, teacher.network.heads) == (32, 64, 4)
    assert (teacher.optimiser.epochs, teacher.run.seed) == (7, 3)
    assert not teacher.has("alpha")


def test_all_mistakes_are_reported_at_once() -> None:
    flags = {"fusion": "transformr", "handler": "nothing", "width": "wide", "sampler": "targt_only", "epcohs": 3}
    with pytest.raises(ConfigError) as caught:
        resolve_options("zeros", {"flags": flags})
    message = str(caught.value)
    assert "5 things to put right" in message
    assert "unknown fusion 'transformr'. Did you mean 'transformer'?" in message
    assert "unknown handler 'nothing'" in message
    assert "unknown sampler 'targt_only'. Did you mean 'target_only'?" in message
    assert "unknown option 'epcohs'" in message
    assert "flags: width = 'wide': Input should be a valid integer" in message
    with pytest.raises(ConfigError) as caught:
        resolve_options("zeros", {"flags": {"width": 100, "heads": 7, "sampler": "target_only"}})
    message = str(caught.value)
    assert "2 things to put right" in message
    assert "--width 100 is not a multiple of --heads 7" in message
    assert "target_only needs --target M" in message


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"drop": 1.0}, "flags: drop = 1.0: Input should be less than 1"),
        ({"epochs": 0}, "epochs = 0: Input should be greater than or equal to 1"),
        ({"epcohs": 3}, "unknown option 'epcohs'. Did you mean 'epochs'?"),
        ({"lr": "fast"}, "lr = 'fast': Input should be a valid number"),
        ({"alpha": 0.5}, "dropout (handler zeros, fusion transformer, head shared, pool none) has no option alpha"),
        ({"handler": []}, "flags: handler = []: Input should be a valid string"),
        ({"sampler": {"a": 1}}, "flags: sampler = a mapping of 1 entry: Input should be a valid string"),
        ({"modalities": "rgb"}, "such as [1,2]"),
        ({3: 4}, "flags: unknown option 3"),
    ],
)
def test_wrong_options_say_what_came_and_what_is_allowed(flags: dict, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_options("dropout", {"flags": flags})
    assert message in str(caught.value)


@pytest.mark.parametrize("layer", ["axes", "fuse"])
def test_what_a_lenient_layer_asks_of_other_strategies_is_left_out_with_the_reason(layer: str) -> None:
    asked = {layer: {"s_mode": "missing", "width": 64}, "flags": {"epochs": 3}}
    found = resolve("mmt", asked, lenient=[layer])
    assert (found.options.network.width, found.options.optimiser.epochs) == (64, 3)
    assert list(found.unused) == ["s_mode"]
    assert found.unused["s_mode"].endswith("It belongs to the handler karmma (strategy karmma)")
    assert resolve("karmma", asked, lenient=[layer]).unused == {}
    with pytest.raises(ConfigError, match="s_mode = 'sometimes'"):  # a wrong value stays wrong
        resolve("karmma", {layer: {"s_mode": "sometimes"}}, lenient=[layer])


def test_unknown_strategy_gets_a_hint() -> None:
    with pytest.raises(ConfigError, match="unknown strategy 'karma'\\. Did you mean 'karmma'"):
        resolve_options("karma", {})


def test_identity_depends_on_what_not_on_where() -> None:
    one = resolve_options("mmt", {})
    elsewhere = resolve_options("mmt", {"f": {"out": "x", "device": "cuda", "resident": "disk", "store": "s.zarr"}})
    assert one.identity("store") == elsewhere.identity("store")
    assert one.identity("store") != resolve_options("mmt", {"f": {"drop": 0.3}}).identity("store")
    assert one.identity("store") != one.identity("other store")
