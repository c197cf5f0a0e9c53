"""prompt: learned prompts for every pattern of what is missing, in the layers of a frozen fusion (MAP)."""

import torch
from torch import nn

from mmcache.fuse.config import FuseConfig
from mmcache.fuse.parts.fusions.base import Prompts
from mmcache.fuse.parts.handlers.base import Fill, Filled, Targets, occupied


class PromptFill(Fill):
    """MAP (CVPR 2023): one prompt set (layers, L_p, d) for each of the 2^M - 1 patterns of kept modalities.

    What is missing is a constant dummy input, here zeros before the projector. `prompt_kind` input puts a layer's
    prompts before the tokens and keeps them; attention puts half before the keys' source and half before the
    values'. Prompts start as zeros but for one row of ones, a different one for each pattern.
    """

    def __init__(self, tokens: list[int], config: FuseConfig) -> None:
        super().__init__(tokens, config)
        self.kind = config.prompt_kind
        patterns, layers = 2 ** len(tokens) - 1, min(config.prompt_layers, config.depth)
        prompts = torch.zeros(patterns, layers, config.prompt_length, config.width)
        for pattern in range(patterns if config.prompt_length else 0):
            prompts[pattern, :, pattern % config.prompt_length] = 1.0
        self.prompts = nn.Parameter(prompts)

    def forward(
        self, tokens: list[torch.Tensor], masks: list[torch.Tensor], kept: torch.Tensor, targets: Targets | None = None
    ) -> Filled:
        bits = 1 << torch.arange(kept.shape[1], device=kept.device)
        pattern = (kept * bits).sum(dim=1) - 1
        return Filled(tokens, occupied(masks, kept), prompts=Prompts(self.prompts[pattern], self.kind))
