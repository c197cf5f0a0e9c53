"""A strategy of one's own: the prediction from what was kept agrees with the prediction from everything.

mmcache fuse --strategy examples/plugins/consistency.py:Consistency --set agreement=0.5
"""

from dataclasses import dataclass

import torch
from torch.nn import functional

from mmcache.fuse.network.passes import Pass
from mmcache.fuse.options.fields import Share, Weight, option
from mmcache.fuse.strategies import Citation, Strategy, Term
from mmcache.fuse.strategies.base import later_epochs


class Consistency(Strategy):
    """Modality dropout, and the KL divergence from the model's own prediction with every modality."""

    about = "modality dropout whose predictions agree with those of everything"
    cite = Citation("", "An example of a plugin", "mmcache", 2026)
    control = "moddrop"
    idea = {"handler": "skip"}
    published = {"sampler": "bernoulli_keep_one", "drop": 0.5}

    @dataclass(frozen=True)
    class Options:
        agreement: Weight = option(0.5, "Weight of the divergence from the prediction with everything.", weight=True)
        first_share: Share = option(0.2, "The first epochs, which learn from the labels alone (a share of the run).")

    def terms(self) -> list[Term]:
        epochs = later_epochs(self.own.first_share, self.options)
        agreement = Term("agreement", self._agreement, self.own.agreement, epochs, reads="targets")
        return [self.cross_entropy(), *([agreement] if self.own.agreement > 0 else [])]

    def _agreement(self, step: Pass) -> torch.Tensor:
        model, present = step.model, step.sample.present
        with torch.no_grad():
            complete = model.classify(model.fuse(model.handle(step.complete)), present).mean()
        total = step.sample.present.new_zeros((), dtype=torch.float32)
        for task, logits in step.outputs.mean().items():
            target, ours = complete[task].softmax(dim=-1), functional.log_softmax(logits, dim=-1)
            total = total - (target * ours).sum(dim=-1).mean()
        return total
