"""Costs against what can be worked out by hand."""

from collections.abc import Callable

import pytest
import torch

from mmcache.fuse.data.subsets import subsets
from mmcache.fuse.evaluation.cost import costs, tokens_fed
from mmcache.fuse.network.model import Model
from mmcache.fuse.parts.fusions import FUSIONS
from mmcache.fuse.runs.spec import ModelSpec

SUBSETS = ["audio+imu+rgb", "audio+imu", "audio+rgb", "imu+rgb", "audio", "imu", "rgb"]


def expected_flops(spec: ModelSpec, width: int, depth: int, ratio: float) -> int:
    """Two for every multiplication of a matrix product: projectors, attention, MLPs and the shared head."""
    tokens = [n for _, n, _ in spec.modalities.values()]
    total = 1 + sum(tokens)
    projectors = sum(n * d * width for _, n, d in spec.modalities.values())
    block = total * width * 3 * width + 2 * total * total * width + total * width * width
    block += 2 * total * width * int(ratio * width)
    vectors = 1 + len(tokens)
    classes = sum(len(names) for names in spec.tasks.values())
    pools = sum(tokens) * width  # each modality's mean is a product with its mask
    head = vectors * (width * 2 * width + 2 * width * classes) + vectors * classes
    return 2 * (projectors + depth * block + pools + head)


def test_flops_are_those_of_the_matrix_products(small_model: Callable[..., Model], spec: ModelSpec) -> None:
    found = costs(small_model("zeros"))
    assert list(found["subsets"]) == SUBSETS
    expected = expected_flops(spec, width=16, depth=2, ratio=4.0)
    for figures in found["subsets"].values():  # zeros are fed where something is missing: the same cost
        assert figures["flops"] == pytest.approx(expected, rel=0.02)
    deeper = costs(small_model("zeros", depth=4))["subsets"]["rgb"]["flops"]
    more = expected_flops(spec, 16, 4, 4.0) - expected
    assert deeper - found["subsets"]["rgb"]["flops"] == more


@pytest.mark.parametrize("fusion", FUSIONS)
def test_skipped_tokens_cost_nothing_and_change_nothing(
    fusion: str, small_model: Callable[..., Model], spec: ModelSpec
) -> None:
    """methods.md 3.16: what attention masks is as if its tokens were removed."""
    head = {} if fusion in ("transformer", "mbt") else {"head": "linear"}
    model = small_model("skip", fusion=fusion, **head)
    found = costs(model)["subsets"]
    full = found["audio+imu+rgb"]
    for name, figures in found.items():
        assert figures["flops"] < full["flops"] or name == "audio+imu+rgb"
        assert figures["peak_memory_bytes"] <= full["peak_memory_bytes"]
    for mask in subsets(3):
        keep = torch.from_numpy(mask)[None]
        removed = tokens_fed(model, mask, torch.device("cpu"))
        whole = {name: torch.full((1, n, d), 3.0) for name, (_, n, d) in spec.modalities.items()}
        left = {name: whole[name][:, : removed[name].shape[1]] for name in whole}
        present = torch.ones(1, 3, dtype=torch.bool)
        for task, logits in model(whole, present, keep).items():
            torch.testing.assert_close(model(left, present, keep)[task], logits, atol=1e-5, rtol=1e-5)


def test_parameters_memory_and_latency(small_model: Callable[..., Model]) -> None:
    small, large = small_model("zeros"), small_model("zeros", width=256)
    one, other = costs(small), costs(large)
    assert one["parameters"] == sum(p.numel() for p in small.parameters())
    assert (one["device"], one["memory_by"]) == ("cpu", "MemTracker of torch")
    for subset in SUBSETS:
        less, more = one["subsets"][subset], other["subsets"][subset]
        assert less["latency_ms"] > 0
        assert less["peak_memory_bytes"] > 4 * one["parameters"]
        # The activations grow with the width too: 17 tokens through an MLP of 4 widths, at least.
        grown = more["peak_memory_bytes"] - 4 * other["parameters"]
        assert grown >= 17 * 4 * 256 * 4
        assert grown > less["peak_memory_bytes"] - 4 * one["parameters"]


def test_measuring_changes_nothing(small_model: Callable[..., Model]) -> None:
    model = small_model("dropout").train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    costs(model)
    assert model.training
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
