"""What strategies that learn from a teacher's logits share."""

from typing import TYPE_CHECKING, Any, ClassVar

import torch

from mmcache.fuse.network.passes import Pass
from mmcache.fuse.parts.losses.distillation import DistillationOptions, distillation
from mmcache.fuse.strategies.base import Strategy, Term

if TYPE_CHECKING:
    from mmcache.fuse.options.options import Options as AllOptions

KNOWN = "teacher knows"


class Distilled(Strategy):
    """alpha CE + (1 - alpha) KD. Its options extend DistillationOptions, and it names its teachers."""

    Options: ClassVar[type] = DistillationOptions

    def terms(self) -> list[Term]:
        alpha = self.own.alpha
        return [self.cross_entropy(alpha), *([self.distillation(1 - alpha)] if alpha < 1 else [])]

    def distillation(self, weight: float) -> Term:
        """Divergence from the cached logits of the teachers."""
        teachers, own = self.teachers, self.own
        assert teachers is not None

        def given(batch: Any, kept: Any) -> dict[str, torch.Tensor]:
            logits, known = teachers.logits_of(batch, kept if own.teacher_mask == "same" else None)
            return {**{f"teacher {task}": values for task, values in logits.items()}, KNOWN: known}

        def value(step: Pass) -> torch.Tensor:
            seen = step.sample.given
            logits = {task: seen[f"teacher {task}"] for task in self.spec.tasks if f"teacher {task}" in seen}
            return distillation(step.outputs.mean(), logits, seen[KNOWN], own.temperature, own.kd_tasks)

        return Term("kd", value, weight, given=given)

    @classmethod
    def asks_teacher(cls, options: "AllOptions") -> bool:
        return bool(options.own.alpha < 1)
