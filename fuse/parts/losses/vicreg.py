"""vicreg: modalities of one segment alike, dimensions spread out and uncorrelated (VICReg, as COMPASS uses it)."""

import itertools
from dataclasses import dataclass

import torch

from mmcache.fuse.options.fields import Weight, option


@dataclass(frozen=True)
class VicregOptions:
    """VICReg between the means of the modalities."""

    vicreg: Weight = option(0.0, "Weight of VICReg between the real means of the modalities.", weight=True)
    vicreg_terms: tuple[Weight, Weight, Weight] = option(
        (25.0, 25.0, 1.0), "Weights of its invariance, variance and covariance."
    )


def vicreg(
    vectors: torch.Tensor, present: torch.Tensor, invariance: float, variance: float, covariance: float
) -> torch.Tensor:
    """invariance * MSE between modalities + variance * hinge on each std below 1 + covariance * off-diagonal^2 / d.

    Each term is a mean over modalities, or pairs of them, that at least two segments of the batch have.

    Args:
        vectors: (B, M, d), one a modality.
        present: (B, M) bool; what is not present may hold anything.
    """
    vectors = torch.where(present[..., None], vectors.float(), vectors.new_zeros((), dtype=torch.float32))
    places = range(vectors.shape[1])
    pairs = [(a, b, present[:, a] & present[:, b]) for a, b in itertools.combinations(places, 2)]
    centred = [_Centred(vectors[:, m], present[:, m]) for m in places]
    alike = [(_alike(vectors[:, a], vectors[:, b], both), both.sum()) for a, b, both in pairs]
    spread = [((1 - (x.variance() + 1e-4).sqrt()).relu().mean(), x.count) for x in centred]
    mixed = [(_off_diagonal(x.covariance()), x.count) for x in centred]
    terms = ((invariance, alike), (variance, spread), (covariance, mixed))
    return sum((weight * _mean(values) for weight, values in terms if values), vectors.new_zeros(()))


class _Centred:
    """The vectors (B, d) of one modality less their mean over the segments that have it, zero elsewhere."""

    def __init__(self, vectors: torch.Tensor, here: torch.Tensor) -> None:
        self.count = here.sum()
        mean = vectors.sum(dim=0) / self.count.clamp_min(1)
        self.values = torch.where(here[:, None], vectors - mean, torch.zeros_like(vectors))

    def variance(self) -> torch.Tensor:
        return self.values.square().sum(dim=0) / (self.count - 1).clamp_min(1)

    def covariance(self) -> torch.Tensor:
        return self.values.T @ self.values / (self.count - 1).clamp_min(1)


def _alike(a: torch.Tensor, b: torch.Tensor, both: torch.Tensor) -> torch.Tensor:
    apart = torch.where(both[:, None], a - b, torch.zeros_like(a))
    return apart.square().mean(dim=1).sum() / both.sum().clamp_min(1)


def _mean(terms: list[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """The mean of the terms that at least two segments speak of; 0 where there is none."""
    values = torch.stack([value for value, _ in terms])
    spoken = torch.stack([count for _, count in terms]) >= 2
    return torch.where(spoken, values, torch.zeros_like(values)).sum() / spoken.sum().clamp_min(1)


def _off_diagonal(matrix: torch.Tensor) -> torch.Tensor:
    return (matrix.square().sum() - matrix.diagonal().square().sum()) / len(matrix)
