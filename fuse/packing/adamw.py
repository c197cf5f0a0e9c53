"""AdamW over stacked parameters: every variant has its own learning rate, weight decay, clipping and moments."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.optim.adamw import adamw

_BETAS, _EPS = (0.9, 0.999), 1e-8  # torch.optim.AdamW's


_STATE = ("step", "exp_avg", "exp_avg_sq")


class _Slot(NamedTuple):
    """One variant's part of a stacked parameter and of its state, as views."""

    parameter: torch.Tensor
    exp_avg: torch.Tensor
    exp_avg_sq: torch.Tensor
    step: torch.Tensor


class StackedAdamW:
    """torch's fused AdamW (decoupled weight decay, Loshchilov & Hutter 2019) on each of V models alone.

    Args:
        parameters: (V, ...) each.
        weight_decay: one a variant.
        clip: the largest norm of a variant's gradient; 0 = no clipping.
    """

    def __init__(
        self, parameters: Sequence[nn.Parameter], weight_decay: Sequence[float], clip: Sequence[float]
    ) -> None:
        self._parameters, self._decay = list(parameters), list(weight_decay)
        self._clip = torch.tensor([c or torch.inf for c in clip], device=self._parameters[0].device)
        self._clips = any(clip)
        # A slot a variant; made when a gradient first comes, as torch's state is.
        self._slots: dict[int, list[_Slot]] = {}

    def zero_grad(self) -> None:
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, members: Sequence[int], rates: Sequence[float]) -> None:
        """Take one step of these variants at these learning rates; the others stay as they are."""
        if self._clips:
            self._clip_gradients()
        grads = {i: p.grad.unbind() for i, p in enumerate(self._parameters) if p.grad is not None}
        for member, rate in zip(members, rates, strict=True):
            slots = [self._slots_of(i)[member] for i in grads]
            adamw(
                [slot.parameter for slot in slots],
                [each[member] for each in grads.values()],
                [slot.exp_avg for slot in slots],
                [slot.exp_avg_sq for slot in slots],
                [],
                [slot.step for slot in slots],
                fused=True,
                amsgrad=False,
                beta1=_BETAS[0],
                beta2=_BETAS[1],
                lr=rate,
                weight_decay=self._decay[member],
                eps=_EPS,
                maximize=False,
            )

    def _clip_gradients(self) -> None:
        """To the largest norm of each variant, as torch.nn.utils.clip_grad_norm_ does."""
        grads = [p.grad for p in self._parameters if p.grad is not None]
        norms = torch.stack([torch.linalg.vector_norm(grad.reshape(len(grad), -1), dim=1) for grad in grads])
        shares = self._clip / (torch.linalg.vector_norm(norms, dim=0) + 1e-6)
        shares = shares.clamp(max=1.0).nan_to_num(nan=1.0)
        for grad in grads:
            grad.mul_(shares.to(grad.dtype).view(-1, *[1] * (grad.ndim - 1)))

    def of(self, member: int) -> "MemberState":
        """One variant's own state."""
        return MemberState(self, member)

    def member_state(self, member: int) -> dict[int, dict[str, torch.Tensor]]:
        """Index of a parameter -> state of one variant by name; what has had no step yet is left out."""
        slots = {i: each[member] for i, each in sorted(self._slots.items())}
        return {i: {name: getattr(slot, name) for name in _STATE} for i, slot in slots.items() if slot.step > 0}

    def load_member_state(self, member: int, given: dict[int, dict[str, torch.Tensor]]) -> None:
        for i, values in given.items():
            slot = self._slots_of(i)[member]
            for name, value in values.items():
                getattr(slot, name).copy_(value)

    def _slots_of(self, i: int) -> list[_Slot]:
        if i not in self._slots:
            parameter = self._parameters[i].detach()
            moments = torch.zeros_like(parameter), torch.zeros_like(parameter)
            steps = torch.zeros(len(parameter), device=parameter.device)
            self._slots[i] = [_Slot(*views) for views in zip(parameter, *moments, steps, strict=True)]
        return self._slots[i]


class MemberState:
    """What a run's folder keeps of one variant's optimiser: a run can go on alone, or packed with others."""

    def __init__(self, optimiser: StackedAdamW, member: int) -> None:
        self._optimiser, self._member = optimiser, member

    def state_dict(self) -> dict[str, Any]:
        return {"state": self._optimiser.member_state(self._member), "param_groups": []}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._optimiser.load_member_state(self._member, state_dict["state"])
