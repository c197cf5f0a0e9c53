"""map, map-attention: prompts for every pattern of missing modalities in a frozen transformer (MAP, CVPR 2023)."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from mmcache.fuse.options.fields import Count, Whole, option
from mmcache.fuse.parts.fusions.base import Fused, Prompts
from mmcache.fuse.parts.handlers.base import Handled, Handler, occupied
from mmcache.fuse.parts.heads.base import Head, Outputs, module_name, vectors
from mmcache.fuse.parts.part import Shape
from mmcache.fuse.strategies.base import Citation, Strategy
from mmcache.store.ground.errors import Problems


class PatternPrompts(Handler):
    """One prompt set (layers, L_p, d) for each of the 2^M - 1 patterns of kept modalities.

    A missing modality is a constant dummy input, here zeros before the projector. `prompt_kind` input puts a layer's
    prompts before the tokens and keeps them; attention puts half before the keys' source and half before the values'.
    Prompts start as zeros but for one row of ones, a different one for each pattern.
    """

    reads = frozenset({"depth"})

    @dataclass(frozen=True)
    class Options:
        prompt_length: Whole = option(16, "Prompts a layer (L_p).")
        prompt_layers: Count = option(6, "The first layers, which have prompts; at most `depth`.")
        prompt_kind: Literal["input", "attention"] = option(
            "input", "Prompts before a layer's tokens, or half before its keys and half before its values."
        )

    @classmethod
    def check(cls, options: Any, problems: Problems) -> None:
        if not options.components.fusion.takes_prompts:
            problems.add(
                "the handler prompt needs the fusion transformer, whose layers take prompts; got "
                f"{options.network.fusion}"
            )
        length = options.handler.prompt_length
        if options.handler.prompt_kind == "attention" and length % 2:
            problems.add(f"prompt_length {length} is odd; attention prompts are halves for keys and values")

    def __init__(self, shape: Shape, options: Options) -> None:
        super().__init__(shape, options)
        self.kind = options.prompt_kind
        patterns, layers, length = (
            2**shape.modalities - 1,
            min(options.prompt_layers, shape.depth),
            options.prompt_length,
        )
        prompts = torch.zeros(patterns, layers, length, shape.width)
        for pattern in range(patterns if length else 0):
            prompts[pattern, :, pattern % length] = 1.0
        self.prompts = nn.Parameter(prompts)

    def forward(self, tokens: list[torch.Tensor], masks: list[torch.Tensor], kept: torch.Tensor) -> Handled:
        bits = 1 << torch.arange(kept.shape[1], device=kept.device)
        pattern = (kept * bits).sum(dim=1) - 1
        return Handled(tokens, occupied(masks, kept), prompts=Prompts(self.prompts[pattern], self.kind))

    @torch.no_grad()
    def permute(self, order: list[int]) -> None:
        def old(pattern: int) -> int:
            return sum(1 << order[i] for i in range(len(order)) if (pattern + 1) >> i & 1) - 1

        self.prompts.copy_(self.prompts[[old(pattern) for pattern in range(len(self.prompts))]])


class Pooler(Head):
    """A pooler (linear, tanh) on CLS, then Linear - LayerNorm - GELU - Linear for each task."""

    has_norm = True

    def __init__(self, shape: Shape, classes: dict[str, int], options: Any) -> None:
        super().__init__(shape, classes, options)
        width, self.features = shape.width, 2 * shape.width
        self.pooler = nn.Sequential(nn.Linear(width, width), nn.Tanh())
        self.hidden = nn.Sequential(nn.Linear(width, 2 * width), nn.LayerNorm(2 * width), nn.GELU())
        self.tasks = nn.ModuleDict({module_name(task): nn.Linear(2 * width, n) for task, n in classes.items()})

    def forward(self, fused: Fused) -> Outputs:
        stacked, valid = vectors(fused if fused.cls is None else Fused(fused.cls, [], []))
        hidden = self.hidden(self.pooler(stacked))
        return Outputs({task: self.tasks[key](hidden) for task, key in self.keys.items()}, valid, hidden)


class Map(Strategy):
    """A transformer is trained on complete segments first (strategy zeros, same network), then frozen.

    Trained are one prompt set for each pattern, 16 tokens in each of the first 6 layers, a pooler and a classifier.
    70 % of the training segments lack one modality, drawn once; `--set sampler=uniform_subset` is the paper's simulated
    missingness for two.

    The paper's learning rate 1e-2 is for its optimiser at batch 256; ours is 1e-3. Its transformer is pre-trained on
    image and text; ours on the same store.
    """

    about = "prompts for each pattern of what is missing, at the input of a frozen transformer's layers"
    cite = Citation(
        "Lee, Yi-Lun and Tsai, Yi-Hsuan and Chiu, Wei-Chen and Lee, Chen-Yu",
        "Multimodal Prompting with Missing Modalities for Visual Recognition",
        "CVPR",
        2023,
        arxiv="2303.03369",
    )
    control = "zeros"
    init_from = "zeros"
    handlers = {"prompt": PatternPrompts}
    heads = {"pooler": Pooler}
    idea = {"handler": "prompt", "prompt_kind": "input", "freeze": True}
    published = {
        "head": "pooler",
        "depth": 6,
        "sampler": "pattern_table",
        "drop": 0.7,
        "lr": 1e-3,
        "weight_decay": 0.02,
        "epochs": 20,
    }


class MapAttention(Map):
    """As map; prompts go half before the keys and half before the values of a layer."""

    about = "prompts for each pattern of what is missing, in the keys and values of a frozen transformer"
    idea = {**Map.idea, "prompt_kind": "attention"}
