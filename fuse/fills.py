"""Fills: what stands in for the tokens of a modality that is absent.

A fill gets tokens whose absent rows are already blank (zero before the projector), so nothing of an absent
modality can reach a model, not even as NaN.
"""

import torch
from torch import nn

_INIT_STD = 0.02


def _learned(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape) * _INIT_STD)


class Fill(nn.Module):
    """Base of all fills.

    Attributes:
        occupies: whether an absent modality still has tokens; if not, its places are masked from attention.
    """

    occupies = True

    def __init__(self, tokens: list[int], width: int) -> None:
        super().__init__()

    def forward(self, modality: int, projected: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        """Fill one modality.

        Args:
            modality: its index.
            projected: (B, n, d) after the projector; rows not kept are the projector's answer to zeros.
            kept: (B,) bool.

        Returns:
            (B, n, d).
        """
        return projected


class ZerosFill(Fill):
    """Zeros instead of the raw tokens, so that the projector's bias is what the fusion sees (MMT's baselines)."""


class SkipFill(Fill):
    """Nothing: the tokens are left out of attention and of pooling."""

    occupies = False


class TokenFill(Fill):
    """MMT (CVPR-W 2025): every token of an absent modality m becomes one learned e_m, before positions are added."""

    def __init__(self, tokens: list[int], width: int) -> None:
        super().__init__(tokens, width)
        self.missing = nn.ParameterList([_learned(width) for _ in tokens])

    def forward(self, modality: int, projected: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        return torch.where(kept[:, None, None], projected, self.missing[modality])


class KarmmaFill(Fill):
    """KARMMA (arXiv 2504.08578, Eq. 1): token i of modality m is delta_m P_m(x_m)_i + t_m + s_{m,i}.

    t_m is one learned token a modality, s_{m,i} one for every place. UNSURE in the paper: whether s is added
    always (default, as in the figure of v1) or only where m is missing (wording of v3); `s_mode` says which.
    """

    def __init__(self, tokens: list[int], width: int, s_mode: str = "always") -> None:
        super().__init__(tokens, width)
        self.s_mode = s_mode
        self.modality_token = nn.ParameterList([_learned(width) for _ in tokens])
        self.specific_tokens = nn.ParameterList([_learned(n, width) for n in tokens])

    def forward(self, modality: int, projected: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        kept = kept[:, None, None]
        specific = self.specific_tokens[modality][: projected.shape[1]]
        if self.s_mode == "missing":
            specific = torch.where(kept, torch.zeros_like(specific), specific)
        return torch.where(kept, projected, torch.zeros_like(projected)) + self.modality_token[modality] + specific


FILLS: dict[str, type[Fill]] = {
    "zeros": ZerosFill,
    "skip": SkipFill,
    "token": TokenFill,
    "karmma": KarmmaFill,
}
