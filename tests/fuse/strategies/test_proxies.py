"""The invariants of COMPASS and CMPT (methods.md 3.12)."""

import dataclasses
from collections.abc import Callable

import pytest
import torch

PROXIES = ["compass", "cmpt"]


@pytest.mark.holds("compass", "cmpt", "3.12 complete segments do not depend on any generator")
@pytest.mark.parametrize("strategy", PROXIES)
def test_complete_segments_do_not_depend_on_any_generator(strategy: str, small_model: Callable, random_batch) -> None:
    model = small_model(strategy)
    before = model(random_batch.tokens, random_batch.present)["verb"]
    with torch.no_grad():
        for parameter in model.handler.parameters():
            parameter.add_(torch.randn_like(parameter))
    after = model(random_batch.tokens, random_batch.present)["verb"]
    assert torch.equal((before != after).any(dim=1), ~random_batch.present.all(dim=1))


@pytest.mark.holds("compass", "cmpt", "3.12 with M = 2 the mean over the sources is the one proxy")
@pytest.mark.parametrize("strategy", PROXIES)
def test_with_two_modalities_the_mean_over_sources_is_the_one_proxy(
    strategy: str, small_model: Callable, spec, random_batch
) -> None:
    pair = dataclasses.replace(spec, modalities={n: spec.modalities[n] for n in ("audio", "rgb")})
    model = small_model(strategy, pair)
    kept = torch.tensor([[True, False]] * 7)
    seen = model.encode(random_batch.tokens, None, kept)
    out = model.handle(seen)
    assert torch.equal(out.tokens[1][:, 0], model.handler._proxy(0, 1, seen.tokens[0], seen.masks[0]))
    assert out.masks[1].sum(dim=1).tolist() == [1] * 7


@pytest.mark.parametrize("strategy", PROXIES)
def test_a_missing_slot_is_the_mean_of_what_is_said_by_those_there(
    strategy: str, small_model: Callable, random_batch
) -> None:
    model = small_model(strategy)
    kept = torch.tensor([[True, True, False]] * 7)
    seen = model.encode(random_batch.tokens, None, kept)
    proxies = [model.handler._proxy(a, 2, seen.tokens[a], seen.masks[a]) for a in (0, 1)]
    torch.testing.assert_close(model.handle(seen).tokens[2][:, 0], (proxies[0] + proxies[1]) / 2)


@pytest.mark.parametrize("strategy", PROXIES)
def test_every_pair_with_a_kept_and_b_dropped_is_learned(
    strategy: str, small_model: Callable, small_trainee: Callable, random_batch
) -> None:
    model = small_model(strategy)
    kept, everything = torch.tensor([[True, True, False]] * 7), torch.ones(7, 3, dtype=torch.bool)
    loss = small_trainee(strategy, model).losses(random_batch.batch(present=everything), kept.numpy(), 0)
    seen, real = (model.encode(random_batch.tokens, None, which) for which in (kept, everything))
    proxies = [model.handler._proxy(a, 2, seen.tokens[a], seen.masks[a]) for a in (0, 1)]
    errors = [(proxy - real.means()[:, 2].detach()).square().mean() for proxy in proxies]
    torch.testing.assert_close(loss["reconstruction"], torch.stack(errors).mean())
    loss["reconstruction"].backward()
    learned = [
        [bool(row.any()) for row in p.grad] if p.grad is not None else [False] * 3 for p in model.handler.proxies
    ]
    assert learned == [[False, False, True], [False, False, True], [False] * 3]


def test_compass_has_a_layer_for_each_pair_and_cmpt_one_for_each_source(small_model: Callable) -> None:
    assert len(small_model("compass").handler.layers) == 9
    assert len(small_model("cmpt").handler.layers) == 3


@pytest.mark.parametrize("strategy", PROXIES)
def test_one_modality_has_no_proxies(
    strategy: str, small_model: Callable, small_trainee: Callable, spec, random_batch
) -> None:
    alone = dataclasses.replace(spec, modalities={"rgb": spec.modalities["rgb"]})
    model = small_model(strategy, alone)
    there = torch.ones(7, 1, dtype=torch.bool)
    batch = random_batch.batch({"rgb": random_batch.tokens["rgb"]}, there)
    assert float(small_trainee(strategy, model).losses(batch, there.numpy(), 0)["reconstruction"]) == 0.0
