"""AdamW over stacked parameters: every variant has its own learning rate, weight decay, clipping and moments."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

_BETA1, _BETA2, _EPS = 0.9, 0.999, 1e-8  # torch.optim.AdamW's


class StackedAdamW:
    """What torch.optim.AdamW does to each of V models alone (decoupled weight decay, Loshchilov & Hutter 2019).

    torch's own has one learning rate for a whole tensor, and the variants of a stack differ in theirs.

    Args:
        parameters: (V, ...) each.
        weight_decay: one a variant.
        clip: the largest norm of a variant's gradient; 0 = no clipping.
    """

    def __init__(
        self, parameters: Sequence[nn.Parameter], weight_decay: Sequence[float], clip: Sequence[float]
    ) -> None:
        self._parameters = list(parameters)
        device = self._parameters[0].device
        self._decay = torch.tensor(weight_decay, dtype=torch.float64, device=device)
        self._clip = torch.tensor([c or torch.inf for c in clip], device=device)
        self._clips = any(clip)
        # (V,) steps and (V, ...) first and second moments; made when a gradient first comes, as torch's are.
        self._states: dict[int, dict[str, torch.Tensor]] = {}

    def zero_grad(self) -> None:
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, members: Sequence[int], rates: Sequence[float]) -> None:
        """Take one step of these variants at these learning rates; the others stay as they are."""
        variants = len(self._decay)
        everyone = list(members) == list(range(variants))
        index = torch.tensor(members, device=self._decay.device)
        rate = torch.zeros_like(self._decay)
        rate[index] = torch.tensor(rates, dtype=torch.float64, device=rate.device)
        shares = self._clipping() if self._clips else None
        for i, parameter in enumerate(self._parameters):
            if parameter.grad is None:
                continue
            state = self._states.setdefault(i, self._new_state(parameter))
            first, second, count = state["exp_avg"], state["exp_avg_sq"], state["step"]
            if everyone:
                _update(parameter, parameter.grad, first, second, count, rate, self._decay, shares)
                continue
            whole = (parameter, first, second, count)
            p, m, v, n = (tensor[index] for tensor in whole)
            share = None if shares is None else shares[index]
            _update(p, parameter.grad[index], m, v, n, rate[index], self._decay[index], share)
            for tensor, part in zip(whole, (p, m, v, n), strict=True):
                tensor.index_copy_(0, index, part)

    def _clipping(self) -> torch.Tensor:
        """(V,) what gradients are multiplied by, as torch.nn.utils.clip_grad_norm_ does."""
        grads = [p.grad for p in self._parameters if p.grad is not None]
        norms = torch.stack([torch.linalg.vector_norm(grad.reshape(len(grad), -1), dim=1) for grad in grads])
        share = self._clip / (torch.linalg.vector_norm(norms, dim=0) + 1e-6)
        return share.clamp(max=1.0).nan_to_num(nan=1.0)

    def _new_state(self, parameter: nn.Parameter) -> dict[str, torch.Tensor]:
        return {
            "step": torch.zeros(len(parameter), device=parameter.device),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }

    def of(self, member: int) -> "MemberState":
        """One variant's part, in the form of torch's AdamW."""
        return MemberState(self, member)

    def member_state(self, member: int) -> dict[int, dict[str, torch.Tensor]]:
        """Parameter -> step, exp_avg and exp_avg_sq of one variant; those without a step yet are left out."""
        return {
            i: {name: tensor[member] for name, tensor in state.items()}
            for i, state in sorted(self._states.items())
            if state["step"][member] > 0
        }

    def load_member_state(self, member: int, given: dict[int, dict[str, torch.Tensor]]) -> None:
        for i, values in given.items():
            state = self._states.setdefault(i, self._new_state(self._parameters[i]))
            for name, value in values.items():
                state[name][member] = value


class MemberState:
    """What a run's folder keeps of one variant's optimiser: a run can go on alone, or packed with others."""

    def __init__(self, optimiser: StackedAdamW, member: int) -> None:
        self._optimiser, self._member = optimiser, member

    def state_dict(self) -> dict[str, Any]:
        return {"state": self._optimiser.member_state(self._member), "param_groups": []}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._optimiser.load_member_state(self._member, state_dict["state"])


def _update(
    parameter: torch.Tensor,
    grad: torch.Tensor,
    first: torch.Tensor,
    second: torch.Tensor,
    step: torch.Tensor,
    rate: torch.Tensor,
    decay: torch.Tensor,
    share: torch.Tensor | None,
) -> None:
    """One step in place, in the order of operations of torch's own; what is (V,) is a number a variant."""

    def wide(values: torch.Tensor) -> torch.Tensor:
        return values.to(parameter.dtype).view(-1, *[1] * (parameter.ndim - 1))

    if share is not None:
        grad = grad * wide(share)
    step += 1
    parameter.mul_(wide(1 - rate * decay))
    first.lerp_(grad, 1 - _BETA1)
    second.mul_(_BETA2).addcmul_(grad, grad, value=1 - _BETA2)
    count = step.double()
    divisor = (second.sqrt() / wide((1 - _BETA2**count).sqrt())).add_(_EPS)
    parameter.add_(first / divisor * wide(-rate / (1 - _BETA1**count)))
