"""karmma-teacher: stage 1 of KARMMA (arXiv 2504.08578)."""

from dataclasses import dataclass

import torch

from mmcache.fuse.network.passes import Pass
from mmcache.fuse.parts.losses.align import AlignOptions, align
from mmcache.fuse.strategies.base import Citation, Strategy, Term

CITE = Citation(
    "Santos-Villafranca, Maria and Perez-Yus, Alejandro and Bermudez-Cameo, Jesus and Guerrero, Jose J.",
    "Multimodal Knowledge Distillation for Egocentric Action Recognition Robust to Missing Modalities",
    "arXiv",
    2025,
    arxiv="2504.08578",
)


class KarmmaTeacher(Strategy):
    """[CLS | tokens of the kept modalities] through 2 blocks of d = 768 and 8 heads.

    CLS and each modality's mean token share one head. Modalities are dropped with p = 0.5 and are then absent. The
    first version of the paper also aligned the modalities by InfoNCE: `align`.

    UNSURE in the paper: norm placement (here pre-norm), positional encoding (here none), learning rates (here ours).
    """

    about = "stage 1 of KARMMA: a large fusion that skips what is missing"
    cite = CITE
    control = "skip"
    idea = {"handler": "skip"}
    published = {
        "sampler": "bernoulli_keep_one",
        "drop": 0.5,
        "width": 768,
        "depth": 2,
        "ffn_ratio": 1.0,
        "attention_dropout": 0.3,
        "modality_embedding": False,
        "weight_decay": 0.05,
        "clip": 1.0,
    }

    @dataclass(frozen=True)
    class Options(AlignOptions):
        """Alignment, as in the first version of the paper."""

    def terms(self) -> list[Term]:
        align = [Term("align", self._align, self.own.align, reads="complete")] if self.own.align > 0 else []
        return [self.cross_entropy(), *align]

    def _align(self, step: Pass) -> torch.Tensor:
        names = self.spec.names
        anchor = names.index(self.own.anchor_among(names))
        return align(step.real_means(), step.sample.present, anchor, self.own.align_temperature)
