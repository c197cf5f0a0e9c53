"""What a head gives: logits of several vectors a segment, averaged for the prediction."""

import dataclasses
from typing import Any, ClassVar

import torch

from mmcache.fuse.parts.fusions.base import Fused
from mmcache.fuse.parts.part import PartModule, Shape
from mmcache.fuse.parts.pooling import masked_mean


@dataclasses.dataclass(frozen=True)
class Outputs:
    """Logits of every vector of a segment.

    Attributes:
        logits: task -> (B, V, C).
        valid: (B, V) bool, the vectors that count.
        features: (B, V, F), what the last linear layer reads.
        average: logits or probabilities: what the prediction is the mean of.
    """

    logits: dict[str, torch.Tensor]
    valid: torch.Tensor
    features: torch.Tensor | None = None
    average: str = "logits"

    def mean(self) -> dict[str, torch.Tensor]:
        """Task -> (B, C), logits averaged over the valid vectors, or the logarithm of averaged probabilities."""
        weights = self.valid.float() / self.valid.sum(dim=1, keepdim=True)
        if self.average == "probabilities":
            of_mean = weights.log()[..., None]  # -inf for a vector that does not count
            return {
                task: (logits.float().log_softmax(dim=-1) + of_mean).logsumexp(dim=1)
                for task, logits in self.logits.items()
            }
        return {task: torch.einsum("bvc,bv->bc", logits.float(), weights) for task, logits in self.logits.items()}

    def penultimate(self) -> torch.Tensor:
        """(B, F), features averaged over the valid vectors."""
        assert self.features is not None
        weights = self.valid.float() / self.valid.sum(dim=1, keepdim=True)
        return torch.einsum("bvf,bv->bf", self.features.float(), weights)


class Head(PartModule):
    """Base of all heads.

    Attributes:
        each: the loss is the sum over vectors, not that of the averaged logits.
        reads_tokens: whether it needs the tokens of the modalities, which some fusions do not keep.
        features: the width F of Outputs.features.
    """

    each: ClassVar[bool] = False
    reads_tokens: ClassVar[bool] = False
    features: int

    def __init__(self, shape: Shape, classes: dict[str, int], options: Any) -> None:
        super().__init__()
        self.keys = {task: module_name(task) for task in classes}

    def forward(self, fused: Fused) -> Outputs:
        raise NotImplementedError


def vectors(fused: Fused) -> tuple[torch.Tensor, torch.Tensor]:
    """CLS, where there is one, and the mean of each modality that has tokens: (B, V, d) and (B, V) bool."""
    pooled = [masked_mean(tokens, mask) for tokens, mask in zip(fused.tokens, fused.masks, strict=True)]
    valid = [mask.any(dim=1) for mask in fused.masks]
    if fused.cls is not None:
        pooled = [fused.cls, *pooled]
        valid = [torch.ones(fused.cls.shape[0], dtype=torch.bool, device=fused.cls.device), *valid]
    return torch.stack(pooled, dim=1), torch.stack(valid, dim=1)


def module_name(task: str) -> str:
    """A name for the module of a task: a task may be called class, keys or a.b, which no module can be.

    Different tasks have different names; weights are found by them, in whatever order a file lists the tasks.
    """
    return "task_" + "".join(c if c.isascii() and c.isalnum() else f"_{ord(c):x}_" for c in task)
