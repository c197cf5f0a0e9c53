"""vicreg: modalities of one segment alike, dimensions spread out and uncorrelated (VICReg, as COMPASS uses it)."""

import itertools

import torch


def vicreg(
    vectors: torch.Tensor, present: torch.Tensor, invariance: float, variance: float, covariance: float
) -> torch.Tensor:
    """invariance * MSE between modalities + variance * hinge on each std below 1 + covariance * off-diagonal^2 / d.

    Each term is a mean over modalities, or pairs of them, that at least two segments of the batch have.

    Args:
        vectors: (B, M, d), one a modality.
        present: (B, M) bool; what is not present may hold anything.
    """
    vectors = vectors.float()
    zero = vectors.new_zeros(())
    alike = [
        (vectors[both, a] - vectors[both, b]).square().mean()
        for a, b in itertools.combinations(range(vectors.shape[1]), 2)
        if int((both := present[:, a] & present[:, b]).sum()) >= 2
    ]
    enough = [vectors[here, m] for m in range(vectors.shape[1]) if int((here := present[:, m]).sum()) >= 2]
    spread = [(1 - (x.var(dim=0) + 1e-4).sqrt()).relu().mean() for x in enough]
    mixed = [_off_diagonal(x.T.cov()) for x in enough]
    terms = ((invariance, alike), (variance, spread), (covariance, mixed))
    return sum((weight * torch.stack(values).mean() for weight, values in terms if values), zero)


def _off_diagonal(matrix: torch.Tensor) -> torch.Tensor:
    matrix = torch.atleast_2d(matrix)
    return (matrix.square().sum() - matrix.diagonal().square().sum()) / len(matrix)
