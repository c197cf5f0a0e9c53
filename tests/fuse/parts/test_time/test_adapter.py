"""What every step at test time has in common."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mmcache.fuse import train
from mmcache.fuse.evaluation.measured import Wanted, measure
from mmcache.fuse.options.resolve import resolve_options
from mmcache.fuse.parts.test_time import TEST_TIME, step_options
from mmcache.fuse.parts.test_time.adapter import entropy, layer_norms
from mmcache.fuse.strategies import STRATEGIES
from mmcache.store import ConfigError

every_step = pytest.mark.parametrize("step", TEST_TIME)


@every_step
def test_the_steps_that_can_be_asked_for_are_those_of_the_table(step: str) -> None:
    assert step_options(step, {"adapt_lr": 0.5}).adapt_lr == 0.5
    with pytest.raises(ConfigError, match="Known: eta, midl, shot, tent"):
        step_options(step + "2", {})


@every_step
def test_a_step_has_its_own_options_and_no_others(step: str) -> None:
    """MiDl's weights are MiDl's; a wrong value is told with its limit."""
    for name in ("midl_information", "midl_distance", "midl_eps"):
        if step == "midl":
            assert getattr(step_options(step, {name: 0.5}), name) == 0.5
        else:
            with pytest.raises(ConfigError, match=f"unknown option of {step} '{name}'"):
                step_options(step, {name: 0.5})
    with pytest.raises(ConfigError, match="adapt_lr = -1"):
        step_options(step, {"adapt_lr": -1})
    with pytest.raises(ConfigError, match="adapt_mode = 'both'"):
        step_options(step, {"adapt_mode": "both"})


def test_a_run_of_midl_lends_its_options_to_the_step() -> None:
    own = resolve_options("midl", {"test": {"adapt_lr": 0.125, "midl_eps": 1e-5}}).own
    given = step_options("midl", {"adapt_lr": 0.25}, own)
    assert (given.adapt_lr, given.midl_eps, given.midl_information) == (0.25, 1e-5, 3.0)


@pytest.mark.holds("midl", "3.6 the step works on any trained model")
@pytest.mark.parametrize("mode", ["stream", "two_phase"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_any_model_adapts_and_stays_as_it_is(
    strategy: str, mode: str, small_model: Callable, adapter: Callable, stream, plain, same, random_batch
) -> None:
    model = small_model(strategy)
    before = copy.deepcopy(model.state_dict())
    batches = stream(random_batch, torch.ones_like(random_batch.present))
    batches = [*batches, *stream(random_batch, random_batch.present)]
    predicted = adapter(model, adapt_mode=mode).predict(batches)
    assert not same(predicted, plain(model, batches))
    assert same(predicted[:1], plain(model, batches[:1]))  # taken before the first step
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())


@pytest.mark.holds("midl", "3.6 all parameters but those of LayerNorms stay, bitwise")
@every_step
def test_only_layer_norms_move(step: str, small_model: Callable, adapter: Callable, stream, random_batch) -> None:
    model = small_model("midl")
    adapting = adapter(model, step)
    adapting.adapt(stream(random_batch, torch.ones_like(random_batch.present)))
    moved = {
        name
        for (name, old), new in zip(model.named_parameters(), adapting.model.parameters(), strict=True)
        if not torch.equal(old, new)
    }
    norms = {name for name, _ in model.named_parameters() if "norm" in name}
    assert len(layer_norms(model)) == len(norms)
    # eta may find nothing that it trusts among answers of a model that was never trained.
    assert moved == norms or (step == "eta" and not moved)


@pytest.mark.holds("midl", "3.6 with r_test = 100 % or lr = 0 nothing adapts")
@every_step
@pytest.mark.parametrize("mode", ["stream", "two_phase"])
def test_it_is_no_adaptation_without_a_rate(
    mode: str, step: str, small_model: Callable, adapter: Callable, stream, plain, same, random_batch
) -> None:
    model = small_model("midl")
    batches = stream(random_batch, random_batch.present)
    still = adapter(model, step, adapt_lr=0.0, adapt_mode=mode)
    assert same(still.predict(batches), plain(model, batches))


def test_in_two_phases_what_is_incomplete_waits_for_all_steps(
    small_model: Callable, adapter: Callable, stream, same, random_batch
) -> None:
    """Whether incomplete segments come before or after the complete ones, the answer to them is the same."""
    model = small_model("midl")
    complete = stream(random_batch, torch.ones_like(random_batch.present))
    incomplete = stream(random_batch, random_batch.present)[:2]
    for mode, alike in (("two_phase", True), ("stream", False)):
        early = adapter(model, adapt_mode=mode).predict([*incomplete, *complete])
        late = adapter(model, adapt_mode=mode).predict([*complete, *incomplete])
        assert same(early[:2], late[-2:]) == alike


@every_step
def test_it_may_adapt_to_training_segments_first(
    step: str, small_model: Callable, adapter: Callable, stream, same, random_batch
) -> None:
    """As if they had come first in the stream; and a copy goes on from there by itself."""
    model = small_model("midl")
    first = stream(random_batch, torch.ones_like(random_batch.present))
    then = stream(random_batch, random_batch.present)
    ready = adapter(model, step)
    ready.adapt(first)
    expected = adapter(model, step).predict([*first, *then])[len(first) :]
    assert same(ready.copy().predict(then), expected)
    assert same(ready.copy().predict(then), expected)


def test_what_training_lacks_for_good_is_not_shown_at_test() -> None:
    with pytest.raises(ConfigError, match="what train_missing takes from it"):
        resolve_options("midl", {"test": {"adapt_first": True, "train_missing": {"rgb": 0.5}}})


def test_nor_is_it_where_the_step_is_asked_for_at_the_evaluation(
    write_small_store: Callable[..., Path], tmp_path: Path
) -> None:
    quick = {"width": 8, "heads": 2, "epochs": 1, "batch_size": 8, "device": "cpu", "train_missing": {"rgb": 0.5}}
    store = write_small_store(["train"] * 16 + ["test"] * 8)
    run = train("dropout", {**quick, "store": store, "out": tmp_path / "run"})
    wanted = Wanted(test_time="tent", step_options={"adapt_first": True})
    with pytest.raises(ConfigError, match="what train_missing takes from it"):
        measure(run.path, run.result, wanted)
    assert set(measure(run.path, run.result, Wanted(test_time="tent"))["adapted"]) == {"audio", "rgb"}


def test_what_cannot_be_adapted_is_refused(small_model: Callable, adapter: Callable, stream, random_batch) -> None:
    with pytest.raises(ConfigError, match="has none: train one with head_norm"):
        adapter(small_model("zeros", fusion="sum", head="linear"))
    with pytest.raises(ConfigError, match="give a list, not a generator"):
        adapter(small_model("midl"), adapt_mode="two_phase").predict(iter(stream(random_batch, random_batch.present)))


def test_entropy_runs_from_none_to_that_of_all_classes_alike() -> None:
    sure = torch.tensor([[50.0, 0.0, 0.0, 0.0]]).log_softmax(dim=-1)
    assert float(entropy(sure)) == pytest.approx(0.0, abs=1e-6)
    assert float(entropy(torch.zeros(1, 4).log_softmax(dim=-1))) == pytest.approx(torch.tensor(4.0).log().item())
