"""The invariants of missing-aware prompts (methods.md 3.7)."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mmcache.fuse import Model, train
from mmcache.fuse.parts.fusions import Transformer

KINDS = ["map", "map-attention"]
QUICK = {"width": 16, "heads": 2, "k": 6, "epochs": 2, "warmup": 0.0, "batch_size": 8, "device": "cpu", "depth": 2}


@pytest.mark.holds("map", "map-attention", "3.7 a batch of one pattern trains the prompts of that pattern alone")
@pytest.mark.parametrize("strategy", KINDS)
def test_a_batch_of_one_pattern_trains_the_prompts_of_that_pattern(
    strategy: str, small_model: Callable, random_batch
) -> None:
    model = small_model(strategy)
    kept = torch.tensor([[True, False, True]] * 7)
    model(random_batch.tokens, torch.ones_like(kept), keep=kept)["verb"].square().sum().backward()
    moved = model.handler.prompts.grad.abs().flatten(1).amax(dim=1) > 0
    assert moved.tolist() == [False, False, False, False, True, False, False]  # bits 1 and 4: pattern 5, row 4


@pytest.mark.holds("map", "map-attention", "3.7 input prompts add L_p a layer, attention prompts nothing")
@pytest.mark.parametrize(("strategy", "grows"), [("map", 3), ("map-attention", 0)])
def test_input_prompts_stay_and_attention_prompts_leave_the_length(
    strategy: str, grows: int, small_model: Callable, random_batch
) -> None:
    length = 4 if strategy == "map-attention" else 3
    model = small_model(strategy, prompt_length=length, prompt_layers=2, depth=3)
    seen: list[int] = []
    assert isinstance(model.fusion, Transformer)
    for block in model.fusion.blocks:
        block.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    model(random_batch.tokens, random_batch.present)
    tokens = 1 + 5 + 4 + 7
    assert seen == [tokens + grows, tokens + 2 * grows, tokens + 2 * grows]


@pytest.mark.parametrize("strategy", KINDS)
def test_prompts_change_the_answer_and_start_as_the_paper_says(
    strategy: str, small_model: Callable, small_options: Callable, spec, random_batch
) -> None:
    prompts = Model(spec, small_options(strategy)).handler.prompts
    assert prompts.shape == (7, 2, 16, 16)
    assert torch.equal(prompts.flatten(2).sum(dim=2), torch.full((7, 2), 16.0))  # one row of ones
    assert len({int(rows[0, :, 0].argmax()) for rows in prompts}) == 7  # another for each pattern
    model = small_model(strategy)
    before = model(random_batch.tokens, random_batch.present)["verb"]
    with torch.no_grad():
        model.handler.prompts[3] += torch.randn(2, 16, 16)
    after = model(random_batch.tokens, random_batch.present)["verb"]
    assert (before != after).any(dim=1).tolist() == [row == 3 for row in range(7)]


@pytest.mark.holds("map", "3.7 the backbone gets no gradient and stays as it was")
@pytest.mark.parametrize("strategy", KINDS)
def test_the_backbone_is_that_of_the_run_it_starts_from(strategy: str, store_copy: Path, tmp_path: Path) -> None:
    trained = train(strategy, {**QUICK, "store": store_copy, "out": tmp_path / "run", "lr": 0.1})
    assert trained.init_from is not None
    base, prompted = (load_file(run.path / "model.safetensors") for run in (trained.init_from, trained))
    backbone = [name for name in base if name.split(".")[0] in ("projectors", "modality_embedding", "fusion")]
    assert len(backbone) > 20
    assert all(torch.equal(base[name], prompted[name]) for name in backbone)
    assert len([name for name in prompted if name.startswith("head.")]) == 10
    starts = torch.zeros_like(prompted["handler.prompts"])
    for pattern in range(7):
        starts[pattern, :, pattern] = 1.0
    assert not torch.equal(prompted["handler.prompts"], starts)
