"""zeros, dropout, mmt, karmma-teacher and karmma give the bits they always gave, dropout included.

The networks are here as they were first written, in one place and in the order in which parameters are drawn, with
nothing of fuse/ in them.
"""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

from mmcache.fuse.network.model import Model
from mmcache.fuse.parts.losses.cross_entropy import cross_entropy
from mmcache.fuse.parts.losses.distillation import distillation
from mmcache.fuse.runs.spec import ModelSpec


def _learned(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape) * 0.02)


class Handler(nn.Module):
    def __init__(self, kind: str, lengths: list[int], width: int) -> None:
        super().__init__()
        self.kind = kind
        if kind == "token":
            self.missing = nn.ParameterList([_learned(width) for _ in lengths])
        if kind == "karmma":
            self.modality_token = nn.ParameterList([_learned(width) for _ in lengths])
            self.specific_tokens = nn.ParameterList([_learned(n, width) for n in lengths])

    def forward(self, m: int, x: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        kept = kept[:, None, None]
        if self.kind == "token":
            return torch.where(kept, x, self.missing[m])
        if self.kind == "karmma":
            return torch.where(kept, x, torch.zeros_like(x)) + self.modality_token[m] + self.specific_tokens[m]
        return x


class Block(nn.Module):
    def __init__(self, width: int, heads: int, ffn_ratio: float, attention_dropout: float) -> None:
        super().__init__()
        self.heads, self.attention_dropout = heads, attention_dropout
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        hidden = int(width * ffn_ratio)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Dropout(0.0), nn.Linear(hidden, width))

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        p = self.attention_dropout if self.training else 0.0
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :], dropout_p=p)
        x = x + self.out(y.transpose(1, 2).reshape(batch, length, width))
        return x + self.mlp(self.norm2(x))


class Fusion(nn.Module):
    def __init__(self, width: int, depth: int, heads: int, ffn_ratio: float, attention_dropout: float) -> None:
        super().__init__()
        self.cls = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.blocks = nn.ModuleList([Block(width, heads, ffn_ratio, attention_dropout) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: list[torch.Tensor], masks: list[torch.Tensor]) -> list[torch.Tensor]:
        batch = len(tokens[0])
        x = torch.cat([self.cls.expand(batch, -1, -1), *tokens], dim=1)
        mask = torch.cat([masks[0].new_ones(batch, 1), *masks], dim=1)
        for block in self.blocks:
            x = block(x, mask)
        cls, *parts = self.norm(x).split([1, *(part.shape[1] for part in tokens)], dim=1)
        return [cls.squeeze(1), *parts]


def masked_mean(tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    weights = mask.to(tokens.dtype)
    return torch.einsum("bnd,bn->bd", tokens, weights) / weights.sum(dim=1, keepdim=True).clamp_min(1.0)


class SharedHead(nn.Module):
    def __init__(self, width: int, modalities: int, classes: dict[str, int]) -> None:
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU())
        self.tasks = nn.ModuleDict({f"task_{task}": nn.Linear(2 * width, count) for task, count in classes.items()})

    def forward(self, cls: torch.Tensor, tokens: list[torch.Tensor], masks: list[torch.Tensor]) -> dict:
        pooled = [cls, *(masked_mean(x, mask) for x, mask in zip(tokens, masks, strict=True))]
        hidden = self.hidden(torch.stack(pooled, dim=1))
        return {key.removeprefix("task_"): head(hidden) for key, head in self.tasks.items()}


class PerModalityHead(nn.Module):
    def __init__(self, width: int, modalities: int, classes: dict[str, int]) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(modalities)])
        self.tasks = nn.ModuleList(
            [nn.ModuleDict({f"task_{t}": nn.Linear(width, n) for t, n in classes.items()}) for _ in range(modalities)]
        )

    def forward(self, cls: torch.Tensor, tokens: list[torch.Tensor], masks: list[torch.Tensor]) -> dict:
        logits: dict[str, list[torch.Tensor]] = {key.removeprefix("task_"): [] for key in self.tasks[0]}
        for x, mask, norm, heads in zip(tokens, masks, self.norms, self.tasks, strict=True):
            thinned = mask & (torch.rand(mask.shape) >= 0.3) if self.training else mask
            pooled = masked_mean(norm(x), thinned)
            for task in logits:
                logits[task].append(heads[f"task_{task}"](pooled))
        return {task: torch.stack(parts, dim=1) for task, parts in logits.items()}


# strategy -> handler, FFN ratio, attention dropout, positions, modality embedding, head
SHAPES = {
    "zeros": ("zeros", 4.0, 0.0, False, True, SharedHead),
    "dropout": ("zeros", 4.0, 0.0, False, True, SharedHead),
    "mmt": ("token", 4.0, 0.0, True, True, PerModalityHead),
    "karmma-teacher": ("skip", 1.0, 0.3, False, False, SharedHead),
    "karmma": ("karmma", 1.0, 0.0, False, False, SharedHead),
}


class Network(nn.Module):
    def __init__(self, strategy: str, modalities: list[tuple[int, int]], classes: dict[str, int], width: int) -> None:
        """modalities: (tokens, width) of each; 2 blocks of 2 heads."""
        super().__init__()
        handler, ffn_ratio, attention_dropout, positions, embedding, head = SHAPES[strategy]
        lengths = [n for n, _ in modalities]
        self.projectors = nn.ModuleList([nn.Linear(d, width) for _, d in modalities])
        self.handler = Handler(handler, lengths, width)
        self.positions = nn.ParameterList([torch.randn(n, width) * 0.02 for n in lengths]) if positions else None
        self.modality_embedding = nn.Parameter(torch.randn(len(lengths), width) * 0.02) if embedding else None
        self.fusion = Fusion(width, 2, 2, ffn_ratio, attention_dropout)
        self.head = head(width, len(lengths), classes)

    def forward(self, tokens: list[torch.Tensor], kept: torch.Tensor) -> tuple[dict, torch.Tensor]:
        """Task -> (B, V, C) logits, and (B, V) which count."""
        embedded, masks = [], []
        for m, raw in enumerate(tokens):
            here = kept[:, m]
            x = self.projectors[m](torch.where(here[:, None, None], raw, torch.zeros(())))
            x = self.handler(m, x, here)
            if self.positions is not None:
                x = x + self.positions[m]
            if self.modality_embedding is not None:
                x = x + self.modality_embedding[m]
            embedded.append(x)
            masks.append((here | (self.handler.kind != "skip"))[:, None].expand(-1, x.shape[1]))
        cls, *parts = self.fusion(embedded, masks)
        valid = torch.stack([mask.any(dim=1) for mask in masks], dim=1)
        if isinstance(self.head, SharedHead):
            valid = torch.cat([torch.ones(len(kept), 1, dtype=torch.bool), valid], dim=1)
        return self.head(cls, parts, masks), valid


def both(strategy: str, spec: ModelSpec, small_options: Callable) -> tuple[Model, Network]:
    torch.manual_seed(5)
    model = Model(spec, small_options(strategy))
    torch.manual_seed(5)
    classes = {task: len(names) for task, names in spec.tasks.items()}
    return model, Network(strategy, [shape[1:] for shape in spec.modalities.values()], classes, 16)


@pytest.mark.parametrize("strategy", SHAPES)
def test_parameters_are_drawn_in_the_same_order(strategy: str, spec: ModelSpec, small_options: Callable) -> None:
    model, old = both(strategy, spec, small_options)
    state, expected = model.state_dict(), old.state_dict()
    assert list(state) == list(expected)
    assert all(torch.equal(state[name], value) for name, value in expected.items())


@pytest.mark.parametrize("strategy", SHAPES)
@pytest.mark.parametrize("training", [False, True])
def test_outputs_and_gradients_are_the_same_bits(
    strategy: str, training: bool, spec: ModelSpec, small_options: Callable, random_batch
) -> None:
    model, old = (part.train(training) for part in both(strategy, spec, small_options))
    torch.manual_seed(9)
    got = model.outputs(random_batch.tokens, None, random_batch.present)
    torch.manual_seed(9)
    logits, valid = old(list(random_batch.tokens.values()), random_batch.present)
    assert torch.equal(got.valid, valid)
    for task, expected in logits.items():
        assert torch.equal(got.logits[task], expected)
        (expected.square() * valid[..., None]).sum().backward(retain_graph=True)
        (got.logits[task].square() * valid[..., None]).sum().backward(retain_graph=True)
    for (name, one), other in zip(model.named_parameters(), old.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None), name
        assert one.grad is None or torch.equal(one.grad, other.grad), name


def test_the_two_losses_are_the_same_bits(spec: ModelSpec, small_options: Callable, random_batch) -> None:
    """Cross-entropy of the averaged logits, and KL(p_T || p_S), as first written."""
    model, _ = both("karmma", spec, small_options)
    outputs = model.outputs(random_batch.tokens, None, random_batch.present)
    mean = outputs.mean()
    expected = torch.zeros(())
    for task, target in random_batch.labels.items():
        ce = functional.cross_entropy(mean[task], target, ignore_index=-1, label_smoothing=0.1, reduction="none")
        expected = expected + ce.sum() / len(target)
    assert torch.equal(cross_entropy(outputs, random_batch.labels, 0.1, each=False), expected)
    teacher = {task: values.flip(0) for task, values in mean.items()}
    expected = torch.zeros(())
    for task, target in teacher.items():
        one, other = mean[task].log_softmax(dim=-1), target.log_softmax(dim=-1)
        kl = functional.kl_div(one, other, reduction="none", log_target=True).sum(dim=-1)
        expected = expected + kl.sum() / len(target)
    assert torch.equal(distillation(mean, teacher, torch.ones(7, dtype=torch.bool)), expected)
