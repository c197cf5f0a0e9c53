"""compass: a missing modality is the mean of what the others predict for it (COMPASS, arXiv 2604.02056)."""

from dataclasses import dataclass

import torch

from mmcache.fuse.network.passes import Pass
from mmcache.fuse.options.fields import Weight, option
from mmcache.fuse.parts.losses.vicreg import VicregOptions, vicreg
from mmcache.fuse.strategies.base import Citation, Term
from mmcache.fuse.strategies.cmpt import Cmpt


class Compass(Cmpt):
    """For each pair a -> b one transformer layer reads a learned token and the tokens of a; output 0 is the proxy.

    Slots are summed, normed and classified. L = CE (label smoothing 0.1) + 0.2 MSE(proxy, real) + 0.3 VICReg between
    the real means. 70 % of the segments are drawn incomplete.

    The squared error covers what is present and dropped; the optional CE on proxies (0.5) is not here. Its invariance
    weight is 5 or 25: `vicreg_terms`. Ours: the fusion sum has a linear layer for each slot, and the schedule is a
    cosine.
    """

    about = "proxies of missing modalities from each of the others, summed, with VICReg"
    cite = Citation("", "COMPASS", "arXiv", 2026, arxiv="2604.02056")
    idea = {"handler": "proxy", "proxy_encoder": "pair"}
    published = {
        "fusion": "sum",
        "head": "linear",
        "head_norm": True,
        "head_dropout": 0.3,
        "heads": 4,
        "sampler": "complete_else_count",
        "drop": 0.7,
        "label_smoothing": 0.1,
        "weight_decay": 5e-4,
        "epochs": 20,
    }

    @dataclass(frozen=True)
    class Options(VicregOptions, Cmpt.Options):
        vicreg: Weight = option(0.3, "Weight of VICReg between the real means of the modalities.", weight=True)

    def terms(self) -> list[Term]:
        spread = [Term("vicreg", self._vicreg, self.own.vicreg, reads="complete")] if self.own.vicreg > 0 else []
        return [*super().terms(), *spread]

    def _vicreg(self, step: Pass) -> torch.Tensor:
        return vicreg(step.real_means(), step.sample.present, *self.own.vicreg_terms)
