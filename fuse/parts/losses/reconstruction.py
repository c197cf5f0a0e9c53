"""reconstruction: how far predicted vectors of missing modalities are from the real ones (ActionMAE, CMPT, COMPASS)."""

import torch


def reconstruction(
    predicted: torch.Tensor, real: torch.Tensor, known: torch.Tensor, standardised: bool = False
) -> torch.Tensor:
    """Mean squared error over the known entries; 0 where there is none.

    Args:
        predicted, real: (B, M, d).
        known: (B, M) bool; entries that are not known may hold anything.
        standardised: the target to mean 0 and (unbiased) variance 1, as in the code of ActionMAE.
    """
    if standardised:
        real = (real - real.mean(dim=-1, keepdim=True)) / (real.var(dim=-1, keepdim=True) + 1e-6).sqrt()
    wrong = torch.where(known[..., None], (predicted - real).float(), torch.zeros((), device=real.device))
    return wrong.square().mean(dim=-1).sum() / known.sum().clamp_min(1)
