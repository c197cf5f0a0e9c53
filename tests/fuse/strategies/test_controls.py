"""The controls: what is left out is as good as never there, and dropping nothing is plain training."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mmcache.fuse import train
from mmcache.fuse.runs.spec import ModelSpec
from mmcache.fuse.strategies import STRATEGIES

QUICK = {"width": 16, "heads": 2, "k": 6, "epochs": 2, "warmup": 0.0, "batch_size": 8, "device": "cpu"}
SKIPPING = [name for name, strategy in STRATEGIES.items() if strategy.idea["handler"] == "skip"]


@pytest.mark.holds("skip", "moddrop", "3.16 a masked modality is as good as a removed one")
@pytest.mark.holds("karmma-teacher", "3.2 the teacher's missing modalities are absent")
@pytest.mark.parametrize("strategy", SKIPPING)
@pytest.mark.parametrize("fusion", [{}, {"fusion": "mbt", "fusion_layer": 0, "head": "linear"}])
def test_a_modality_left_out_is_as_good_as_removed(
    strategy: str, fusion: dict, small_model: Callable, spec: ModelSpec, random_batch
) -> None:
    """ModDrop's invariant, to 1e-5: attention-masked equals a network that never had the tokens."""
    model = small_model(strategy, **fusion)
    fewer = dataclasses.replace(spec, modalities={n: spec.modalities[n] for n in ("audio", "rgb")})
    smaller = small_model(strategy, fewer, **fusion)
    lists = [("projectors",), *[("fusion", "layers", str(layer)) for layer in range(2)]]
    state = {}
    for name, value in model.state_dict().items():
        parts = name.split(".")
        for start in lists:
            if tuple(parts[: len(start)]) == start and len(parts) > len(start):
                parts[len(start)] = {"0": "0", "1": "gone", "2": "1"}[parts[len(start)]]
        if name == "modality_embedding":
            value = value[[0, 2]]
        if "gone" not in parts:
            state[".".join(parts)] = value
    smaller.load_state_dict(state)
    only = torch.tensor([[True, False, True]]).expand(7, -1)
    expected = smaller({n: random_batch.tokens[n] for n in ("audio", "rgb")}, only[:, [0, 2]])
    for task, values in model(random_batch.tokens, only).items():
        torch.testing.assert_close(values, expected[task], rtol=1e-5, atol=1e-5)


@pytest.mark.holds("dropout", "3.1 p = 0 is plain training")
def test_dropping_nothing_is_plain_training_with_the_same_seed(store_copy: Path, tmp_path: Path) -> None:
    """Train-zeros at p = 0 is Test-zeros, to the bit."""
    options = {**QUICK, "store": store_copy, "train_on": "all"}
    plain = train("zeros", {**options, "out": tmp_path / "plain"})
    none = train("dropout", {**options, "drop": 0.0, "out": tmp_path / "none"})
    assert (none.path / "model.safetensors").read_bytes() == (plain.path / "model.safetensors").read_bytes()
