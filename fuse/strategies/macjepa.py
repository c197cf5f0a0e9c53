"""macjepa: predict, from what was kept, a slow copy's view of everything (MacJEPA, 2026)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from mmcache.fuse.network.passes import Pass
from mmcache.fuse.options.fields import Rate, Weight, option
from mmcache.fuse.parts.losses.jepa import Jepa
from mmcache.fuse.parts.losses.vicreg import VicregOptions, vicreg
from mmcache.fuse.strategies.base import Citation, Strategy, Term
from mmcache.store.ground.errors import Problems

if TYPE_CHECKING:
    from mmcache.fuse.network.model import Model
    from mmcache.fuse.options.options import Options as AllOptions


class MacJepa(Strategy):
    """Missing content is a learned vector in every place; positions and modality embedding stay.

    A class token that reads everything and that no token reads is the query of the segment's label. The teacher is a
    moving average of the model and sees everything; a predictor maps the student's outputs to it (L1).
    L = CE (label smoothing 0.1) + jepa + vicreg.

    UNSURE in the paper: the weights of the losses (here 1 and 0.05) and the schedule of the average (here constant).
    The paper masks windows of a longer context with several annotations; a segment here is one window with one, so
    masks are drawn a segment. VICReg reads the projected means of present modalities; its learned vector of absence is
    here one a modality; its time embedding is here one learned vector a place.
    """

    about = "joint-embedding prediction of a slow copy's view of everything"
    cite = Citation("", "MacJEPA", "arXiv", 2026)
    control = "dropout"
    idea = {"handler": "token", "positions": True, "cls_is_query": True}
    published = {
        "head": "linear",
        "depth": 6,
        "ffn_ratio": 2.0,
        "sampler": "complete_else_count",
        "drop": 0.7,
        "label_smoothing": 0.1,
        "lr": 3e-4,
        "weight_decay": 1e-4,
        "epochs": 50,
        "warmup": 0.04,
    }

    @dataclass(frozen=True)
    class Options(VicregOptions):
        vicreg: Weight = option(0.05, "Weight of VICReg between the real means of the modalities.", weight=True)
        jepa: Weight = option(1.0, "Weight of predicting the slow copy's view.", weight=True)
        momentum: Rate = option(0.996, "Share of the slow copy that a step keeps.")

    @classmethod
    def check(cls, options: "AllOptions", problems: Problems) -> None:
        if options.own.jepa > 0 and not options.components.fusion.has_cls:
            problems.add(
                f"the loss jepa needs a fusion with a class token and tokens; got {options.network.fusion}: use "
                "transformer"
            )

    def __init__(self, options: "AllOptions", model: "Model", *rest: Any) -> None:
        super().__init__(options, model, *rest)
        self.jepa = Jepa(model, options.network.width, self.own.momentum) if self.own.jepa > 0 else None

    def terms(self) -> list[Term]:
        terms = [self.cross_entropy()]
        if self.own.vicreg > 0:
            terms.append(Term("vicreg", self._vicreg, self.own.vicreg, reads="complete"))
        if self.jepa is not None:
            terms.append(Term("jepa", self._jepa, self.own.jepa))
        return terms

    def after_step(self, model: "Model") -> None:
        if self.jepa is not None:
            self.jepa.follow(model)

    def _vicreg(self, step: Pass) -> torch.Tensor:
        return vicreg(step.real_means(), step.sample.present, *self.own.vicreg_terms)

    def _jepa(self, step: Pass) -> torch.Tensor:
        assert self.jepa is not None
        sample = step.sample
        with step.in_autocast():
            clean = self.jepa.look(sample.tokens, sample.lengths, sample.present)
        return self.jepa(step.fused, clean, sample.present)
