"""shared: one MLP for the class token and every modality's mean (KARMMA)."""

from typing import Any

from torch import nn

from mmcache.fuse.parts.fusions.base import Fused
from mmcache.fuse.parts.heads.base import Head, Outputs, module_name, vectors
from mmcache.fuse.parts.part import Shape


class Shared(Head):
    """KARMMA: CLS and each modality's mean token go through one MLP (d -> 2d, then a linear a task).

    The hidden activation (GELU) and averaging logits rather than probabilities are UNSURE in the paper.
    """

    def __init__(self, shape: Shape, classes: dict[str, int], options: Any) -> None:
        super().__init__(shape, classes, options)
        self.features = 2 * shape.width
        self.hidden = nn.Sequential(nn.Linear(shape.width, self.features), nn.GELU())
        self.tasks = nn.ModuleDict({module_name(task): nn.Linear(self.features, n) for task, n in classes.items()})

    def forward(self, fused: Fused) -> Outputs:
        stacked, valid = vectors(fused)
        hidden = self.hidden(stacked)  # (B, V, 2d)
        return Outputs({task: self.tasks[key](hidden) for task, key in self.keys.items()}, valid, hidden)
