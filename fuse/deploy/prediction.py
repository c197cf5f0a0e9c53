"""From the tokens of one clip to ranked classes."""

import dataclasses
from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from mmcache.fuse.runs.spec import ModelSpec
from mmcache.store.ground.errors import ConfigError

_PAIR = ("verb", "noun")  # two tasks that together are an action
ACTION = "action"


class Predictor(Protocol):
    """A model, or one that was exported."""

    @property
    def spec(self) -> ModelSpec: ...

    def __call__(self, tokens: Mapping[str, torch.Tensor], present: torch.Tensor) -> dict[str, torch.Tensor]:
        """As Model.forward: modality -> (B, T, D) and (B, M) bool in, task -> (B, C) logits out."""
        ...


@dataclasses.dataclass(frozen=True)
class Ranked:
    """One answer.

    Attributes:
        names: task -> class; two tasks for an action.
        probability: that of the model, by softmax; of an action, verb's by noun's.
    """

    names: dict[str, str]
    probability: float


@torch.inference_mode()
def predict(
    model: Predictor, tokens: Mapping[str, NDArray[np.floating]], top: int = 5, device: str = "cpu"
) -> dict[str, list[Ranked]]:
    """Rank the classes of one clip.

    Args:
        model: in eval mode, on `device`.
        tokens: modality -> (1, T, D), of any subset of the model's modalities; what is not given is missing.
        top: how many answers a task.

    Returns:
        Task -> answers, the likeliest first; and `action` where the model knows verb and noun: their pairs by joint
        probability.

    Raises:
        ConfigError: no modality of the model is given, one that it has not, or `top` is below 1.
    """
    names = model.spec.names
    unknown = [name for name in tokens if name not in names]
    if unknown or not tokens:
        got = f"got {', '.join(unknown)}" if unknown else "got none of them"
        raise ConfigError(f"the model reads {', '.join(names)}; {got}")
    if top < 1:
        raise ConfigError(f"--top {top}: at least 1")
    present = torch.tensor([[name in tokens for name in names]], device=device)
    here = {name: torch.from_numpy(np.ascontiguousarray(values)).to(device) for name, values in tokens.items()}
    logits = {task: values[0].float().cpu() for task, values in model(here, present).items()}
    return rank(logits, model.spec.tasks, top)


def rank(logits: Mapping[str, torch.Tensor], classes: Mapping[str, list[str]], top: int) -> dict[str, list[Ranked]]:
    """The best answers of each task, and of actions; see predict.

    Args:
        logits: task -> (C,).
        classes: task -> class names.
    """
    best = {task: values.log_softmax(dim=0).topk(min(top, len(values))) for task, values in logits.items()}
    out = {
        task: [Ranked({task: classes[task][i]}, float(p.exp())) for p, i in zip(*found, strict=True)]
        for task, found in best.items()
    }
    if set(_PAIR) <= set(best) and ACTION not in best:
        # The best pairs of two independent heads lie among the pairs of their best classes.
        (verbs, verb_ids), (nouns, noun_ids) = (best[task] for task in _PAIR)
        joint = (verbs[:, None] + nouns).flatten()
        out[ACTION] = [
            Ranked(
                {
                    "verb": classes["verb"][verb_ids[place // len(nouns)]],
                    "noun": classes["noun"][noun_ids[place % len(nouns)]],
                },
                float(p.exp()),
            )
            for p, place in zip(*joint.topk(min(top, len(joint))), strict=True)
        ]
    return out
