"""karmma: stage 2 of KARMMA (arXiv 2504.08578), a small student that learns from a teacher."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from mmcache.fuse.options.fields import Rate, option
from mmcache.fuse.parts.handlers.base import Handled, Handler, learned, occupied
from mmcache.fuse.parts.losses.distillation import DistillationOptions
from mmcache.fuse.parts.part import Shape, permuted
from mmcache.fuse.strategies.base import TeacherNeed
from mmcache.fuse.strategies.distilled import Distilled
from mmcache.fuse.strategies.karmma_teacher import CITE


class KarmmaTokens(Handler):
    """Learned tokens of the modality and of the place (Eq. 1): token i of m is delta_m P_m(x_m)_i + t_m + s_{m,i}.

    t_m is one learned token a modality, s_{m,i} one for every place. UNSURE in the paper: whether s is added always
    (default, as in the figure of v1) or only where m is missing (wording of v3); `s_mode` says which.
    """

    @dataclass(frozen=True)
    class Options:
        s_mode: Literal["always", "missing"] = option("always", "Add the tokens s always, or only where m is missing.")

    def __init__(self, shape: Shape, options: Options) -> None:
        super().__init__(shape, options)
        self.s_mode = options.s_mode
        self.modality_token = nn.ParameterList([learned(shape.width) for _ in shape.tokens])
        self.specific_tokens = nn.ParameterList([learned(n, shape.width) for n in shape.tokens])

    def forward(self, tokens: list[torch.Tensor], masks: list[torch.Tensor], kept: torch.Tensor) -> Handled:
        handled = [self._one(m, x, kept[:, m, None, None]) for m, x in enumerate(tokens)]
        return Handled(handled, occupied(masks, kept))

    def permute(self, order: list[int]) -> None:
        self.modality_token = permuted(self.modality_token, order)
        self.specific_tokens = permuted(self.specific_tokens, order)

    @torch.no_grad()
    def neutralise(self) -> None:
        for parameter in self.parameters():
            parameter.zero_()

    def _one(self, modality: int, projected: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        specific = self.specific_tokens[modality][: projected.shape[1]]
        if self.s_mode == "missing":
            specific = torch.where(kept, torch.zeros_like(specific), specific)
        return torch.where(kept, projected, torch.zeros_like(projected)) + self.modality_token[modality] + specific


class Karmma(Distilled):
    """A missing modality is fed as its learned tokens t_m + s_{m,i}, so the number of tokens never changes.

    L_S = alpha CE + (1 - alpha) KL(p_T || p_S). One keep mask a segment drives teacher and student alike
    (`teacher_mask` same); the teacher's logits are cached. What it needs first: a karmma-teacher. What it costs: a
    missing modality's tokens are computed on as if they were there (its curves of cost fall as if they were not:
    `--handler skip`).

    UNSURE in the paper, and how it is here: s added always (`s_mode`), logits rather than probabilities averaged
    (`average`), the missing modality's vector included in the average (`average_missing`), learning rate 1e-4 with
    start and end at 1e-6. The paper fine-tunes its small extractors, 6 segments a batch; here they are frozen, and a
    batch is as large as the teacher's, 32.
    """

    about = "learned tokens for missing modalities, and distillation from a teacher"
    cite = CITE
    control = "moddrop"
    teacher = TeacherNeed("karmma-teacher")
    handlers = {"karmma": KarmmaTokens}
    idea = {"handler": "karmma", "modality_embedding": False}  # t_m plays its part
    published = {"sampler": "bernoulli_keep_one", "drop": 0.5, "ffn_ratio": 1.0, "weight_decay": 0.01, "clip": 2.0}

    @dataclass(frozen=True)
    class Options(DistillationOptions):
        alpha: Rate = option(0.7, "Weight of cross-entropy; 1 - alpha is the weight of distillation.", varies=True)
