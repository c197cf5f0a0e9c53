"""What the teachers of a run have to say of its segments."""

import dataclasses
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

if TYPE_CHECKING:
    from mmcache.store.load.loader import Batch


class LogitsSource(Protocol):
    """The cached logits of a teacher, or of several as one."""

    def get_logits(
        self,
        rows: NDArray[np.int64],
        kept: NDArray[np.bool_] | None,
        modalities: list[str],
        views: NDArray[np.int64] | None = None,
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]: ...


@dataclasses.dataclass(frozen=True)
class TeacherSignals:
    """What loss terms ask teachers for.

    Attributes:
        source: their cached logits.
        modalities: the student's, in the order of its masks.
        tasks: the student's.
        features: (N, F) penultimate features of the teacher with full sight, NaN where it has none; None where no
            term reads them.
        restricted: whether training is made to lack modalities, or may learn labels from some alone: with full sight,
            a teacher then sees what the batch says is present, and not all that the store has.
    """

    source: LogitsSource
    modalities: list[str]
    tasks: list[str]
    features: torch.Tensor | None = None
    restricted: bool = False

    def logits_of(self, batch: "Batch", kept: NDArray[np.bool_] | None) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Task -> (B, C) logits, NaN where there are none, and (B,) bool: whether the teacher has any.

        Args:
            kept: (B, M) what the teacher sees; None = full sight.
        """
        device = batch.present.device
        if kept is None and self.restricted:
            kept = batch.present.cpu().numpy()
        logits, known = self.source.get_logits(batch.rows, kept, self.modalities, batch.views)
        return {task: values.to(device) for task, values in logits.items() if task in self.tasks}, known.to(device)

    def features_of(self, batch: "Batch") -> torch.Tensor:
        """(B, F) penultimate features of the teacher, NaN where it has none."""
        assert self.features is not None
        return self.features[torch.from_numpy(batch.rows)].to(batch.present.device)
