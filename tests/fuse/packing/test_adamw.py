"""StackedAdamW is torch's AdamW with its own clipping, for each variant alone."""

import pytest
import torch
from torch import nn

from mmcache.fuse.packing.adamw import StackedAdamW

RATES, DECAYS = [1e-2, 3e-3, 1e-1], [0.0, 0.1, 0.01]


@pytest.mark.parametrize("clips", [[0.0, 0.0, 0.0], [0.5, 0.0, 100.0]])
def test_every_variant_steps_as_it_would_alone(clips: list[float]) -> None:
    torch.manual_seed(0)
    shapes = [(4, 3), (5,), ()]
    stacked = [nn.Parameter(torch.randn(3, *shape)) for shape in shapes]
    single = [[nn.Parameter(p[i].detach().clone()) for p in stacked] for i in range(3)]
    ours = StackedAdamW(stacked, DECAYS, clips)
    theirs = [
        torch.optim.AdamW(p, lr=r, weight_decay=d, fused=True) for p, r, d in zip(single, RATES, DECAYS, strict=True)
    ]
    for step in range(12):
        members = [0, 1, 2] if step % 3 else [0, 2]  # variants with fewer batches sit out
        rates = [RATES[i] / (1 + step) for i in members]
        grads = [torch.randn(3, *shape) for shape in shapes]
        for p, grad in zip(stacked, grads, strict=True):
            p.grad = grad.clone()
        if step < 4:
            stacked[1].grad = None  # a parameter that no loss has reached yet
        ours.step(members, rates)
        for i, rate in zip(members, rates, strict=True):
            for place, (p, grad) in enumerate(zip(single[i], grads, strict=True)):
                p.grad = None if place == 1 and step < 4 else grad[i].clone()
            if clips[i]:
                nn.utils.clip_grad_norm_(single[i], clips[i])
            theirs[i].param_groups[0]["lr"] = rate
            theirs[i].step()
        for p, *each in zip(stacked, *single, strict=True):
            torch.testing.assert_close(p.detach(), torch.stack([one.detach() for one in each]))


def test_a_variants_state_is_that_of_torchs_own() -> None:
    stacked = [nn.Parameter(torch.randn(3, 4)), nn.Parameter(torch.randn(3, 2))]
    ours = StackedAdamW(stacked, DECAYS, [1.0] * 3)
    stacked[0].grad = torch.randn(3, 4)
    ours.step([0, 2], RATES[:2])
    assert ours.of(1).state_dict()["state"] == {}
    state = ours.of(2).state_dict()["state"]
    assert set(state) == {0}
    own = nn.Parameter(stacked[0][2].detach().clone())
    theirs = torch.optim.AdamW([own])
    theirs.load_state_dict({"state": state, "param_groups": theirs.state_dict()["param_groups"]})
    assert torch.equal(theirs.state[own]["exp_avg"], state[0]["exp_avg"])
    fresh = StackedAdamW(stacked, DECAYS, [1.0] * 3)
    fresh.of(2).load_state_dict({"state": state})
    assert torch.equal(fresh.of(2).state_dict()["state"][0]["exp_avg_sq"], state[0]["exp_avg_sq"])
