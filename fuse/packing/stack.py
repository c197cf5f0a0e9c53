"""The parameters of several models of one shape, stacked; each model's own are views of them."""

from collections.abc import Sequence

import torch
from torch import nn


class Stack:
    """Parameters and buffers of V modules as tensors (V, ...), in storage that the modules share.

    A module can go on being used, loaded and saved alone: it and the stack always hold the same numbers.

    Attributes:
        parameters: name -> (V, ...).
        buffers: likewise.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        own = [dict(module.named_parameters()) for module in modules]
        self.parameters: dict[str, nn.Parameter] = {}
        for name, first in own[0].items():
            stacked = nn.Parameter(torch.stack([one[name].detach() for one in own]), first.requires_grad)
            self.parameters[name] = stacked
            for i, one in enumerate(own):
                one[name].data = stacked.data[i]
        held = [dict(module.named_buffers()) for module in modules]
        self.buffers: dict[str, torch.Tensor] = {}
        for name in held[0]:
            whole = torch.stack([each[name] for each in held])
            self.buffers[name] = whole
            for i, each in enumerate(held):
                each[name].data = whole[i]

    @property
    def trained(self) -> list[nn.Parameter]:
        """Those that have gradients."""
        return [p for p in self.parameters.values() if p.requires_grad]

    def take(self, members: Sequence[int]) -> dict[str, torch.Tensor]:
        """Name -> (len(members), ...); gradients flow back into the whole."""
        tensors: dict[str, torch.Tensor] = {**self.parameters, **self.buffers}
        count = len(next(iter(tensors.values())))
        if list(members) == list(range(count)):
            return tensors
        index = torch.tensor(members, device=next(iter(tensors.values())).device)
        return {name: tensor[index] for name, tensor in tensors.items()}
