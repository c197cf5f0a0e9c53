"""The invariants of COMPASS and CMPT (methods.md 3.12)."""

import dataclasses
from collections.abc import Callable

import pytest
import torch

STRATEGIES = ["compass", "cmpt"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_complete_segments_do_not_depend_on_any_generator(strategy: str, small_model: Callable, random_batch) -> None:
    model = small_model(strategy)
    before = model(random_batch.tokens, random_batch.present)["verb"]
    with torch.no_grad():
        for parameter in model.fill.parameters():
            parameter.add_(torch.randn_like(parameter))
    after = model(random_batch.tokens, random_batch.present)["verb"]
    assert torch.equal((before != after).any(dim=1), ~random_batch.present.all(dim=1))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_with_two_modalities_the_mean_over_sources_is_the_one_proxy(
    strategy: str, small_model: Callable, spec, random_batch
) -> None:
    pair = dataclasses.replace(spec, modalities={n: spec.modalities[n] for n in ("audio", "rgb")})
    model = small_model(strategy, pair)
    kept = torch.tensor([[True, False]] * 7)
    parts, masks, kept = model._embed(random_batch.tokens, None, kept)
    out = model.fill(parts, masks, kept)
    assert torch.equal(out.tokens[1][:, 0], model.fill._proxy(0, 1, parts[0], masks[0]))
    assert out.masks[1].sum(dim=1).tolist() == [1] * 7


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_missing_slot_is_the_mean_of_what_is_said_by_those_there(
    strategy: str, small_model: Callable, random_batch
) -> None:
    model = small_model(strategy)
    kept = torch.tensor([[True, True, False]] * 7)
    parts, masks, kept = model._embed(random_batch.tokens, None, kept)
    proxies = [model.fill._proxy(a, 2, parts[a], masks[a]) for a in (0, 1)]
    torch.testing.assert_close(model.fill(parts, masks, kept).tokens[2][:, 0], (proxies[0] + proxies[1]) / 2)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_pair_with_a_kept_and_b_dropped_is_learned(strategy: str, small_model: Callable, random_batch) -> None:
    model = small_model(strategy)
    kept, everything = torch.tensor([[True, True, False]] * 7), torch.ones(7, 3, dtype=torch.bool)
    trace = model.trace(random_batch.tokens, None, kept, everything)
    parts, masks, _ = model._embed(random_batch.tokens, None, kept)
    errors = [(model.fill._proxy(a, 2, parts[a], masks[a]) - trace.real[:, 2]).square().mean() for a in (0, 1)]
    torch.testing.assert_close(trace.losses["reconstruction"], torch.stack(errors).mean())
    trace.losses["reconstruction"].backward()
    learned = [[bool(row.any()) for row in p.grad] if p.grad is not None else [False] * 3 for p in model.fill.proxies]
    assert learned == [[False, False, True], [False, False, True], [False] * 3]


def test_compass_has_a_layer_for_each_pair_and_cmpt_one_for_each_source(small_model: Callable) -> None:
    assert len(small_model("compass").fill.layers) == 9
    assert len(small_model("cmpt").fill.layers) == 3


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_one_modality_has_no_proxies(strategy: str, small_model: Callable, spec, random_batch) -> None:
    alone = dataclasses.replace(spec, modalities={"rgb": spec.modalities["rgb"]})
    model = small_model(strategy, alone)
    trace = model.trace(random_batch.tokens, None, torch.ones(7, 1).bool(), torch.ones(7, 1).bool())
    assert float(trace.losses["reconstruction"]) == 0.0
