"""midl: predictions that do not depend on any one modality (MiDl, Ramazanova et al., ICLR 2025).

A complete segment is run in full and once without each of its modalities; p_v are the predictions. One step makes
them agree (the mutual information H(mean_v p_v) - mean_v H(p_v) falls) without leaving the model before adaptation
(KL(p_0(full) || p(full)) falls). Incomplete segments are predicted by the model as it stands, and move nothing.
With `adapt_first` the model adapts to the training segments, without their labels, before the test (MiDl-LTA).

Which weights made the printed tables is UNSURE: the script has 3 and 3, its settings file 0.5. The script's learning
rate 2.5e-4 is 6.25e-5 after its scaling. Its logarithms are of p + 1e-5 (`midl_eps`; exact by default). Versions
without m use the model's own handler (ours; the paper has zeros).
"""

import math
from typing import TYPE_CHECKING

import torch

from mmcache.fuse.parts.test_time.adapter import Seen, entropy, raised
from mmcache.fuse.parts.test_time.options import MidlOptions

if TYPE_CHECKING:
    from mmcache.fuse.network.model import Model


def loss(model: "Model", origin: "Model", batch: Seen, config: MidlOptions) -> torch.Tensor | None:
    """Of the complete segments, summed over tasks; None where there is none, or a single modality."""
    complete = batch.present.bool().all(dim=1).nonzero().squeeze(1)
    modalities = batch.present.shape[1]
    if not len(complete) or modalities == 1:
        return None
    batch = batch.only(complete)
    with torch.no_grad():
        before = origin(batch.tokens, batch.present, lengths=batch.lengths)
    views = []
    for m in range(-1, modalities):  # -1: all there is
        keep = torch.ones_like(batch.present, dtype=torch.bool)
        if m >= 0:
            keep[:, m] = False
        views.append(model(batch.tokens, batch.present, keep, batch.lengths))
    total = torch.zeros((), device=batch.present.device)
    for task, given in before.items():
        log_p = torch.stack([view[task].log_softmax(dim=-1) for view in views], dim=1)
        information = mutual_information(log_p, config.midl_eps)
        apart = divergence(given.log_softmax(dim=-1), log_p[:, 0], config.midl_eps)
        total = total + (config.midl_information * information + config.midl_distance * apart).mean()
    return total


def mutual_information(log_p: torch.Tensor, eps: float = 0.0) -> torch.Tensor:
    """(B, V, C) log-probabilities -> (B,): H(mean over views) - mean over views of H; 0 where all views agree."""
    mean = log_p.logsumexp(dim=1) - math.log(log_p.shape[1])
    return entropy(mean, eps) - entropy(log_p, eps).mean(dim=1)


def divergence(before: torch.Tensor, now: torch.Tensor, eps: float = 0.0) -> torch.Tensor:
    """(B, C) log-probabilities -> (B,): KL(before || now)."""
    return (before.exp() * (raised(before, eps) - raised(now, eps))).sum(dim=-1)
