"""Heads: from fused tokens to logits, several vectors a segment, averaged for the prediction."""

import dataclasses

import torch
from torch import nn

from mmcache.fuse.config import FuseConfig
from mmcache.fuse.network.pooling import masked_mean
from mmcache.fuse.parts.fusions import Fused


@dataclasses.dataclass(frozen=True)
class Outputs:
    """Logits of every vector of a segment.

    Attributes:
        logits: task -> (B, V, C).
        valid: (B, V) bool, the vectors that count.
        features: (B, V, F), what the last linear layer reads; None where a test made the logits by hand.
        average: logits or probabilities: what the prediction is the mean of.
    """

    logits: dict[str, torch.Tensor]
    valid: torch.Tensor
    features: torch.Tensor | None = None
    average: str = "logits"

    def mean(self) -> dict[str, torch.Tensor]:
        """Task -> (B, C), logits averaged over the valid vectors, or the logarithm of averaged probabilities."""
        weights = self.valid.float() / self.valid.sum(dim=1, keepdim=True)
        if self.average == "probabilities":
            of_mean = weights.log()[..., None]  # -inf for a vector that does not count
            return {
                task: (logits.float().log_softmax(dim=-1) + of_mean).logsumexp(dim=1)
                for task, logits in self.logits.items()
            }
        return {task: torch.einsum("bvc,bv->bc", logits.float(), weights) for task, logits in self.logits.items()}

    def penultimate(self) -> torch.Tensor:
        """(B, F), features averaged over the valid vectors."""
        assert self.features is not None
        weights = self.valid.float() / self.valid.sum(dim=1, keepdim=True)
        return torch.einsum("bvf,bv->bf", self.features.float(), weights)


class Head(nn.Module):
    """Base of all heads.

    Attributes:
        each: the loss is the sum over vectors, not that of the averaged logits.
        features: the width F of Outputs.features.
    """

    each = False
    features: int

    def forward(self, fused: Fused) -> Outputs:
        raise NotImplementedError


def _vectors(fused: Fused) -> tuple[torch.Tensor, torch.Tensor]:
    """CLS, where there is one, and the mean of each modality that has tokens: (B, V, d) and (B, V) bool."""
    pooled = [masked_mean(tokens, mask) for tokens, mask in zip(fused.tokens, fused.masks, strict=True)]
    valid = [mask.any(dim=1) for mask in fused.masks]
    if fused.cls is not None:
        pooled = [fused.cls, *pooled]
        valid = [torch.ones(fused.cls.shape[0], dtype=torch.bool, device=fused.cls.device), *valid]
    return torch.stack(pooled, dim=1), torch.stack(valid, dim=1)


class SharedHead(Head):
    """KARMMA: CLS and each modality's mean token go through one MLP (d -> 2d, then a linear a task).

    The hidden activation (GELU) and averaging logits rather than probabilities are UNSURE in the paper.
    """

    def __init__(self, modalities: int, classes: dict[str, int], config: FuseConfig) -> None:
        super().__init__()
        self.features = 2 * config.width
        self.hidden = nn.Sequential(nn.Linear(config.width, self.features), nn.GELU())
        self.tasks = nn.ModuleDict({task: nn.Linear(self.features, count) for task, count in classes.items()})

    def forward(self, fused: Fused) -> Outputs:
        vectors, valid = _vectors(fused)
        hidden = self.hidden(vectors)  # (B, V, 2d)
        return Outputs({task: head(hidden) for task, head in self.tasks.items()}, valid, hidden)


class PerModalityHead(Head):
    """MMT: own norm and linear for every modality, on the mean of its tokens after token dropout; CLS is not used."""

    each = True

    def __init__(self, modalities: int, classes: dict[str, int], config: FuseConfig) -> None:
        super().__init__()
        width = self.features = config.width
        self.token_dropout = config.token_dropout
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(modalities)])
        self.tasks = nn.ModuleList(
            [nn.ModuleDict({task: nn.Linear(width, n) for task, n in classes.items()}) for _ in range(modalities)]
        )
        self.names = list(classes)

    def forward(self, fused: Fused) -> Outputs:
        logits: dict[str, list[torch.Tensor]] = {task: [] for task in self.names}
        features = []
        for tokens, mask, norm, heads in zip(fused.tokens, fused.masks, self.norms, self.tasks, strict=True):
            pooled = masked_mean(norm(tokens), self._thinned(mask))
            features.append(pooled)
            for task in self.names:
                logits[task].append(heads[task](pooled))  # type: ignore[index]
        valid = torch.stack([mask.any(dim=1) for mask in fused.masks], dim=1)
        stacked = {task: torch.stack(parts, dim=1) for task, parts in logits.items()}
        return Outputs(stacked, valid, torch.stack(features, dim=1))

    def _thinned(self, mask: torch.Tensor) -> torch.Tensor:
        """In training, leave each token out of the mean with probability `token_dropout`."""
        if not self.training or self.token_dropout == 0.0:
            return mask
        drawn = torch.rand_like(mask, dtype=torch.float32, memory_format=torch.contiguous_format)
        return mask & (drawn >= self.token_dropout)


class LinearHead(Head):
    """One linear a task: on CLS where the fusion has one, else on each modality's mean token (or its class token).

    `head_norm` puts a LayerNorm before it, `head_dropout` a dropout (COMPASS).
    """

    def __init__(self, modalities: int, classes: dict[str, int], config: FuseConfig) -> None:
        super().__init__()
        self.features = config.width
        self.norm = nn.LayerNorm(config.width) if config.head_norm else nn.Identity()
        self.dropout = nn.Dropout(config.head_dropout)
        self.tasks = nn.ModuleDict({task: nn.Linear(config.width, count) for task, count in classes.items()})

    def forward(self, fused: Fused) -> Outputs:
        vectors, valid = self._read(fused)
        vectors = self.dropout(self.norm(vectors))
        return Outputs({task: head(vectors) for task, head in self.tasks.items()}, valid, vectors)

    def _read(self, fused: Fused) -> tuple[torch.Tensor, torch.Tensor]:
        return _vectors(fused if fused.cls is None else Fused(fused.cls, [], []))


class GapHead(LinearHead):
    """One linear a task on the mean over all tokens of all modalities, each token counting the same (MBT's 'gap')."""

    def _read(self, fused: Fused) -> tuple[torch.Tensor, torch.Tensor]:
        mask = torch.cat(fused.masks, dim=1)
        return masked_mean(torch.cat(fused.tokens, dim=1), mask)[:, None], mask.any(dim=1, keepdim=True)


class PoolerHead(Head):
    """MAP: a pooler (linear, tanh) on CLS, then Linear - LayerNorm - GELU - Linear for each task."""

    def __init__(self, modalities: int, classes: dict[str, int], config: FuseConfig) -> None:
        super().__init__()
        width, self.features = config.width, 2 * config.width
        self.pooler = nn.Sequential(nn.Linear(width, width), nn.Tanh())
        self.hidden = nn.Sequential(nn.Linear(width, 2 * width), nn.LayerNorm(2 * width), nn.GELU())
        self.tasks = nn.ModuleDict({task: nn.Linear(2 * width, count) for task, count in classes.items()})

    def forward(self, fused: Fused) -> Outputs:
        vectors, valid = _vectors(fused if fused.cls is None else Fused(fused.cls, [], []))
        hidden = self.hidden(self.pooler(vectors))
        return Outputs({task: head(hidden) for task, head in self.tasks.items()}, valid, hidden)


HEADS: dict[str, type[Head]] = {
    "shared": SharedHead,
    "per_modality": PerModalityHead,
    "linear": LinearHead,
    "gap": GapHead,
    "pooler": PoolerHead,
}
