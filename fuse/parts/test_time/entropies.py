"""tent, shot, eta: surer predictions, the three older adaptations that MiDl is compared with.

Each looks at the predictions p of a batch, complete or not, from what its segments have:

    tent  mean H(p): every prediction surer (TENT, ICLR 2021)
    shot  mean H(p) - H(mean p): surer, and not all of one class (the information maximisation of SHOT, ICML 2020)
    eta   tent on the reliable alone: H(p) above 0.4 ln C is left out, the others weigh exp(0.4 ln C - H(p)) (ETA,
          ICML 2022; its second filter, against segments like earlier ones, is not here)

Tasks are summed. Their own optimisers and learning rates are not MiDl's; here all adapt alike.
"""

import math
from typing import TYPE_CHECKING

import torch

from mmcache.fuse.parts.test_time.adapter import Seen, entropy
from mmcache.fuse.parts.test_time.options import AdaptOptions

if TYPE_CHECKING:
    from mmcache.fuse.network.model import Model

_MARGIN = 0.4  # of the largest entropy there can be


def tent(model: "Model", origin: "Model", batch: Seen, config: AdaptOptions) -> torch.Tensor:
    """Mean entropy of the predictions."""
    return torch.stack([entropy(log_p).mean() for log_p in _predictions(model, batch)]).sum()


def shot(model: "Model", origin: "Model", batch: Seen, config: AdaptOptions) -> torch.Tensor:
    """Mean entropy of the predictions less the entropy of their mean; 0 for a batch of one."""
    terms = []
    for log_p in _predictions(model, batch):
        mean = log_p.logsumexp(dim=0) - math.log(len(log_p))
        terms.append(entropy(log_p).mean() - entropy(mean))
    return torch.stack(terms).sum()


def eta(model: "Model", origin: "Model", batch: Seen, config: AdaptOptions) -> torch.Tensor:
    """Mean weighted entropy of the predictions that are sure enough; 0 where none is."""
    terms = []
    for log_p in _predictions(model, batch):
        unsure, margin = entropy(log_p), _MARGIN * math.log(log_p.shape[-1])
        weight = torch.where(unsure < margin, (margin - unsure).exp(), torch.zeros_like(unsure)).detach()
        terms.append((weight * unsure).sum() / (weight > 0).sum().clamp_min(1))
    return torch.stack(terms).sum()


def _predictions(model: "Model", batch: Seen) -> list[torch.Tensor]:
    """(B, C) log-probabilities of each task."""
    return [x.log_softmax(dim=-1) for x in model(batch.tokens, batch.present, lengths=batch.lengths).values()]
