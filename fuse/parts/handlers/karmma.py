"""karmma: learned tokens of the modality and of the place (KARMMA, Eq. 1)."""

import torch
from torch import nn

from mmcache.fuse.config import FuseConfig
from mmcache.fuse.parts.handlers.base import Fill, Filled, Targets, learned, occupied


class KarmmaFill(Fill):
    """KARMMA (arXiv 2504.08578, Eq. 1): token i of modality m is delta_m P_m(x_m)_i + t_m + s_{m,i}.

    t_m is one learned token a modality, s_{m,i} one for every place. UNSURE in the paper: whether s is added
    always (default, as in the figure of v1) or only where m is missing (wording of v3); `s_mode` says which.
    """

    def __init__(self, tokens: list[int], config: FuseConfig) -> None:
        super().__init__(tokens, config)
        self.s_mode = config.s_mode
        self.modality_token = nn.ParameterList([learned(config.width) for _ in tokens])
        self.specific_tokens = nn.ParameterList([learned(n, config.width) for n in tokens])

    def forward(
        self, tokens: list[torch.Tensor], masks: list[torch.Tensor], kept: torch.Tensor, targets: Targets | None = None
    ) -> Filled:
        filled = [self._one(m, x, kept[:, m, None, None]) for m, x in enumerate(tokens)]
        return Filled(filled, occupied(masks, kept))

    def _one(self, modality: int, projected: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        specific = self.specific_tokens[modality][: projected.shape[1]]
        if self.s_mode == "missing":
            specific = torch.where(kept, torch.zeros_like(specific), specific)
        return torch.where(kept, projected, torch.zeros_like(projected)) + self.modality_token[modality] + specific
