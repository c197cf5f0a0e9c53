"""mar: more weight for segments seen through the weakest combination of modalities (MMANet)."""

from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import special
from torch import nn
from torch.nn import functional

from mmcache.fuse.data.subsets import subset_name, subsets
from mmcache.fuse.parts.heads.base import module_name


class WeakCombinations(nn.Module):
    """Which combinations are weak, and the auxiliary head that training gives them. Not part of the model.

    Before training epoch `begin`, the predictions on the held-out part of train are gathered for each proper
    combination: how far (KL) the histogram of its predicted labels is from that of all modalities. The furthest and
    its single modalities are weak from then on. The official code looks at the test set for this, which is not
    done here, and applies softmax to the histograms, which `softmax` does.
    """

    divergence: torch.Tensor
    weak: torch.Tensor

    def __init__(self, modalities: list[str], classes: dict[str, int], features: int, softmax: bool = False) -> None:
        super().__init__()
        self.softmax = softmax
        self.modalities, self.classes = modalities, classes
        self.heads = nn.ModuleDict({module_name(task): nn.Linear(features, n) for task, n in classes.items()})
        self.register_buffer("divergence", torch.zeros(2 ** len(modalities) - 1))
        self.register_buffer("weak", torch.zeros(2 ** len(modalities) - 1, dtype=torch.bool))

    def gather(self, table: pd.DataFrame) -> None:
        """Add one epoch's predictions on held-out segments, a table of evaluation.score."""
        masks = subsets(len(self.modalities))
        names = [subset_name(mask, self.modalities) for mask in masks]
        for task, count in self.classes.items():
            predicted = table.groupby("subset")[f"{task}_pred"]
            histograms = {name: np.bincount(values, minlength=count) + 1e-6 for name, values in predicted}
            full = histograms.get(names[-1])
            for i, name in enumerate(names[:-1]):
                if full is not None and name in histograms:
                    p, q = self._shares(histograms[name]), self._shares(full)
                    self.divergence[i] += float((p * np.log(p / q)).sum())
        worst = masks[int(self.divergence[:-1].argmax())] if len(masks) > 1 else masks[0]
        inside = (masks.sum(axis=1) == 1) & (masks & worst).any(axis=1) | (masks == worst).all(axis=1)
        inside[-1] = False  # everything there is is never weak
        self.weak.copy_(torch.from_numpy(inside))

    def _shares(self, histogram: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        shares = histogram / histogram.sum()
        return special.softmax(shares) if self.softmax else shares

    def forward(self, features: torch.Tensor, labels: dict[str, torch.Tensor], kept: torch.Tensor) -> torch.Tensor:
        """The auxiliary head's cross-entropy on weak segments, summed over tasks, divided by the batch size.

        Args:
            features: (B, F) penultimate.
            labels: task -> (B,), -1 where unlabelled.
            kept: (B, M) bool.
        """
        subset = (kept * (1 << torch.arange(kept.shape[1], device=kept.device))).sum(dim=1) - 1
        weak = self.weak[subset]
        total = features.new_zeros((), dtype=torch.float32)
        for task in self.classes:
            head = self.heads[module_name(task)]
            losses = functional.cross_entropy(head(features).float(), labels[task], ignore_index=-1, reduction="none")
            total = total + (losses * weak).sum() / len(kept)
        return total
