"""jepa: predict, from what was kept, a slow copy's view of everything (MacJEPA)."""

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from mmcache.fuse.parts.fusions import Fused

if TYPE_CHECKING:
    from mmcache.fuse.network.model import Model

_HIDDEN = 384


class Jepa(nn.Module):
    """An exponential moving average of the model as teacher, and a predictor. Not part of the model.

    The loss is L1 between predictor(student) and LayerNorm(teacher), over the class token (the query of a segment)
    and the tokens of what is present. The weight of the loss and the schedule of the average are UNSURE in the paper.
    """

    def __init__(self, model: "Model", width: int, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.predictor = nn.Sequential(nn.Linear(width, _HIDDEN), nn.GELU(), nn.Linear(_HIDDEN, width))
        self.teacher: Model = copy.deepcopy(model).eval().requires_grad_(False)

    def train(self, mode: bool = True) -> "Jepa":
        super().train(mode)
        self.teacher.eval()
        return self

    @torch.no_grad()
    def look(
        self, tokens: Mapping[str, torch.Tensor], lengths: Mapping[str, torch.Tensor], present: torch.Tensor
    ) -> Fused:
        """The teacher's fused tokens of all that is present."""
        return self.teacher.fuse(self.teacher.handle(self.teacher.encode(tokens, lengths, present)))

    @torch.no_grad()
    def follow(self, model: nn.Module) -> None:
        """Move the teacher towards the model, after each step."""
        for slow, fast in zip(self.teacher.parameters(), model.parameters(), strict=True):
            slow.lerp_(fast.detach().to(slow.dtype), 1 - self.momentum)

    def forward(self, student: Fused, teacher: Fused, present: torch.Tensor) -> torch.Tensor:
        """The loss.

        Args:
            student: of the kept modalities.
            teacher: of all that are present, without gradient.
            present: (B, M) bool.
        """
        assert student.cls is not None
        assert teacher.cls is not None
        masks = [mask & present[:, m, None] for m, mask in enumerate(teacher.masks)]
        mask = torch.cat([masks[0].new_ones(len(present), 1), *masks], dim=1)
        predicted = self.predictor(torch.cat([student.cls[:, None], *student.tokens], dim=1)).float()
        target = torch.cat([teacher.cls[:, None], *teacher.tokens], dim=1).float()
        target = functional.layer_norm(target, target.shape[-1:]).detach()
        apart = (predicted - target).abs().mean(dim=-1)
        return torch.where(mask, apart, torch.zeros_like(apart)).sum() / mask.sum()
