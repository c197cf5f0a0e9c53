"""The logits of a teacher for every segment, view and modality subset, read from the cache."""

import dataclasses
import functools
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from mmcache.fuse.data.subsets import subset_index
from mmcache.fuse.teachers.temperature import best_temperature


@dataclasses.dataclass(frozen=True)
class CachedLogits:
    """Cached logits of one teacher.

    Attributes:
        modalities: the teacher's, in the order of its subset bits.
        logits: task -> (N, V, S, C) float16, NaN where there are none.
    """

    modalities: list[str]
    logits: dict[str, NDArray[np.float16]]

    def get_logits(
        self,
        rows: NDArray[np.int64],
        kept: NDArray[np.bool_] | None,
        modalities: list[str],
        views: NDArray[np.int64] | None = None,
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """The teacher's logits of each row, for what it sees.

        Args:
            rows: (B,).
            kept: (B, M) columns in the order of the student's `modalities`; those the teacher has not are ignored, and
                those the student has not are not seen. None = the teacher sees all that it has of a segment.
            views: (B,) the view of each row; None, or one the teacher's tokens do not have, is the centre view.

        Returns:
            Task -> (B, C) float32 logits, NaN where there are none, and (B,) bool: whether there are any.
        """
        index = self._fullest[rows] if kept is None else self._subsets(kept, modalities)
        cached = next(iter(self.logits.values())).shape[1]
        view = np.zeros(len(rows), np.int64) if views is None else np.where(views < cached, views, 0)
        out = {
            task: torch.from_numpy(logits[rows, view, index].astype(np.float32)) for task, logits in self.logits.items()
        }
        known = torch.from_numpy(index >= 0)
        for values in out.values():
            values[torch.from_numpy(index < 0)] = torch.nan  # it sees nothing: these are the logits of another subset
            known = known & values.isfinite().all(dim=1)
        return out, known

    def _subsets(self, kept: NDArray[np.bool_], modalities: list[str]) -> NDArray[np.int64]:
        """(B,) the number of the subset of the teacher's modalities that is kept, -1 for none."""
        seen = np.zeros((len(kept), len(self.modalities)), bool)
        for j, name in enumerate(self.modalities):
            if name in modalities:
                seen[:, j] = kept[:, modalities.index(name)]
        return subset_index(seen)

    def calibrated(self, labels: Mapping[str, NDArray[np.int64]], held_out: NDArray[np.int64]) -> "CachedLogits":
        """The same logits at a temperature for each task: the best one on held-out rows, seen in full.

        Args:
            labels: task -> (N,) int64, -1 where unlabelled.
            held_out: rows of train that it did not learn from.
        """
        logits, known = self.get_logits(held_out, None, self.modalities)
        able = known.numpy()
        at = {task: best_temperature(x.numpy()[able], labels[task][held_out][able]) for task, x in logits.items()}
        return CachedLogits(
            self.modalities, {task: (x / np.float16(at[task])).astype(np.float16) for task, x in self.logits.items()}
        )

    @functools.cached_property
    def _fullest(self) -> NDArray[np.int64]:
        """(N,) the largest subset that each segment has logits for, -1 for none; the last of those it has."""
        first = next(iter(self.logits.values()))[:, 0, :, 0]  # (N, S)
        numbers = np.where(np.isfinite(first), np.arange(first.shape[1]), -1)
        return numbers.max(axis=1)
