"""mmanet: a student that keeps its teacher's relations between segments, and works on weak combinations (MMANet)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
import torch

from mmcache.fuse.network.passes import Pass
from mmcache.fuse.options.fields import Share, Weight, option
from mmcache.fuse.parts.losses.mad import margin_aware, prediction_entropy
from mmcache.fuse.parts.losses.mar import WeakCombinations
from mmcache.fuse.strategies.base import Citation, Strategy, TeacherNeed, Term, later_epochs
from mmcache.store.ground.errors import Problems

if TYPE_CHECKING:
    from mmcache.fuse.network.model import Model
    from mmcache.fuse.options.options import Options as AllOptions

_FEATURES, _ENTROPY, _KNOWN = "teacher features", "teacher entropy", "teacher knows"


class MmaNet(Strategy):
    """The teacher learns from complete segments and sees everything; the student sees a random subset, zeros elsewhere.

    L = CE + 30 MAD + 0.5 MAR, the last two after the first twentieth of the run. MAD compares B x B relations of
    penultimate features, weighted by the teacher's uncertainty; MAR gives more weight, through a head that is left
    behind after training, to segments seen through the combinations whose predictions stray most (losses/mad.py,
    losses/mar.py).

    The official code finds the weak combinations on the test set and ties the branches to one pair; here they are found
    on the held-out part of train. Its softmax of their histograms is `mar_softmax`. It trains with SGD, here AdamW.
    """

    about = "a teacher's relations between segments, and extra weight for weak combinations of modalities"
    cite = Citation(
        "Wei, Shicai and Luo, Chunbo and Luo, Yang",
        "MMANet: Margin-Aware Distillation and Modality-Aware Regularization for Incomplete Multimodal Learning",
        "CVPR",
        2023,
        arxiv="2304.08028",
    )
    control = "dropout"
    teacher = TeacherNeed("zeros", several=False, features=True)
    idea = {"handler": "zeros"}
    published = {"sampler": "uniform_subset"}

    @dataclass(frozen=True)
    class Options:
        mad: Weight = option(30.0, "Weight of the teacher's relations between segments.", weight=True)
        mad_by: Literal["rows", "columns"] = option("rows", "Relation (i, j) is weighted by i, or by j (code).")
        mar: Weight = option(0.5, "Weight of the weak combinations of modalities.", weight=True)
        mar_softmax: bool = option(False, "Softmax of histograms that are shares already (code).")
        margin_share: Share = option(0.05, "The first epochs, which have neither MAD nor MAR (a share of the run).")

    @classmethod
    def asks_teacher(cls, options: "AllOptions") -> bool:
        return bool(options.own.mad > 0)

    @classmethod
    def check(cls, options: "AllOptions", problems: Problems) -> None:
        if options.own.mar > 0 and options.data.validation == 0:
            problems.add(
                "the loss mar needs segments that training does not learn from, and --validation 0 leaves none"
            )

    @classmethod
    def check_modalities(cls, options: "AllOptions", names: list[str], tasks: list[str], problems: Problems) -> None:
        if len(names) == 1 and options.own.mar > 0:
            problems.add(f"the loss mar is between modalities, and this run has one, {names[0]}")

    def __init__(self, options: "AllOptions", model: "Model", *rest: Any) -> None:
        super().__init__(options, model, *rest)
        own = self.own
        self.weak = (
            WeakCombinations(self.spec.names, self.spec.classes, model.head.features, own.mar_softmax)
            if own.mar > 0
            else None
        )

    def terms(self) -> list[Term]:
        epochs = later_epochs(self.own.margin_share, self.options)
        terms = [self.cross_entropy()]
        if self.own.mad > 0:
            terms.append(Term("mad", self._mad, self.own.mad, epochs, given=self._relations))
        if self.weak is not None:
            terms.append(Term("mar", self._mar, self.own.mar, epochs))
        return terms

    def after_epoch(self, epoch: int, table: pd.DataFrame) -> None:
        if self.weak is not None and epoch not in later_epochs(self.own.margin_share, self.options):
            self.weak.gather(table)

    def _relations(self, batch: Any, kept: Any) -> dict[str, torch.Tensor]:
        """The teacher's features and entropy of each segment of a batch, with full sight."""
        assert self.teachers is not None
        features = self.teachers.features_of(batch)
        logits, known = self.teachers.logits_of(batch, None)
        return {
            _FEATURES: features,
            _ENTROPY: prediction_entropy(logits),
            _KNOWN: known & features.isfinite().all(dim=1),
        }

    def _mad(self, step: Pass) -> torch.Tensor:
        given = step.sample.given
        return margin_aware(
            step.outputs.penultimate(), given[_FEATURES], given[_ENTROPY], given[_KNOWN], by=self.own.mad_by
        )

    def _mar(self, step: Pass) -> torch.Tensor:
        assert self.weak is not None
        value: torch.Tensor = self.weak(step.outputs.penultimate(), step.sample.labels, step.sample.kept)
        return value
