"""The model around fusion, fill and head."""

import dataclasses
from collections.abc import Callable

import pytest
import torch

from mmcache.fuse.model import ModelSpec
from mmcache.store import k_average


def test_a_mask_of_the_wrong_shape_is_refused(small_model: Callable, random_batch) -> None:
    with pytest.raises(ValueError, match=r"present must be \(B, 3\)"):
        small_model("zeros")(random_batch.tokens, random_batch.present[:, :2])


def test_skipped_tokens_are_as_good_as_removed(small_model: Callable, spec: ModelSpec, random_batch) -> None:
    """ModDrop's invariant: attention-masked equals token-removed to 1e-5."""
    model, batch = small_model("karmma-teacher"), random_batch
    only = torch.tensor([[True, False, True]]).expand(7, -1)
    smaller_spec = dataclasses.replace(spec, modalities={n: spec.modalities[n] for n in ("audio", "rgb")})
    smaller = small_model("karmma-teacher", smaller_spec)
    state = {k: v for k, v in model.state_dict().items() if not k.startswith("projectors.1.")}
    smaller.load_state_dict({k.replace("projectors.2.", "projectors.1."): v for k, v in state.items()})
    expected = smaller({n: batch.tokens[n] for n in ("audio", "rgb")}, torch.ones(7, 2, dtype=torch.bool))
    got = model(batch.tokens, only)
    for task in expected:
        torch.testing.assert_close(expected[task], got[task], rtol=1e-5, atol=1e-5)


def test_longer_tokens_are_averaged_as_in_training(small_model: Callable, random_batch) -> None:
    model, present = small_model("mmt"), torch.ones_like(random_batch.present)
    longer = {**random_batch.tokens, "rgb": torch.randn(7, 30, 8, generator=torch.Generator().manual_seed(2))}
    averaged = {**longer, "rgb": torch.from_numpy(k_average(longer["rgb"].numpy(), 7)[0])}
    for task, expected in model(averaged, present).items():
        assert torch.equal(expected, model(longer, present)[task])
