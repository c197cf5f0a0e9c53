"""Robustness to noise on the token series (methods 1.7: MultiBench).

A segment's noise is keyed by (seed, kind, modality, segment id), and the same at every level: more of it adds to what
there was. Levels are sigma, in the units of the tokens as they are cached.
"""

import hashlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmcache.fuse.evaluation.curves.robustness import LEVELS, relative_robustness
from mmcache.fuse.evaluation.inputs import complete_inputs
from mmcache.fuse.network.model import Model
from mmcache.store.feature_store import FeatureStore

KINDS = ("gaussian", "elements", "steps")


def noised(tokens: torch.Tensor, kind: str, level: float, draws: torch.Tensor) -> torch.Tensor:
    """(B, T, D) tokens with noise of one level.

    gaussian adds noise of standard deviation sigma, elements sets each number to zero with probability sigma, steps
    each token.

    Args:
        draws: as _draws gives them.
    """
    if kind == "gaussian":
        return tokens + level * draws.to(tokens.dtype)
    return torch.where(draws < level, torch.zeros_like(tokens), tokens)


@torch.inference_mode()
def noise_curves(
    model: Model, store: FeatureStore, rows: NDArray[np.int64], k: int, device: str = "cpu", seed: int = 0
) -> dict[str, Any]:
    """Accuracy of complete segments, all modalities noised alike: kind -> task -> levels, top1 and relative area.

    Args:
        rows: of the store, labelled.
    """
    ids = store.segments["id"].to_numpy()
    hits: dict[tuple[str, str], list[NDArray[np.int8]]] = {}
    for batch in complete_inputs(model, store, rows, k, device).batches():
        for kind in KINDS:
            draws = {
                name: torch.from_numpy(
                    np.stack([_draws(ids[row], name, kind, tuple(values.shape[1:]), seed) for row in batch.rows])
                ).to(values.device)
                for name, values in batch.tokens.items()
            }
            right: dict[str, list[NDArray[np.int8]]] = {}
            for level in LEVELS:
                tokens = {name: noised(values, kind, level, draws[name]) for name, values in batch.tokens.items()}
                logits = model(tokens, batch.present, lengths=batch.lengths)
                for task, correct in right_or_wrong(logits, batch.labels).items():
                    right.setdefault(task, []).append(correct)
            for task, columns in right.items():
                hits.setdefault((kind, task), []).append(np.stack(columns, axis=1))
    out: dict[str, Any] = {}
    for (kind, task), parts in hits.items():
        table = np.concatenate(parts)  # (n, levels), -1 where unlabelled
        curve = 100.0 * (table[table[:, 0] >= 0] == 1).mean(axis=0)
        out.setdefault(kind, {})[task] = {
            "top1": {f"{level:g}": float(value) for level, value in zip(LEVELS, curve, strict=True)},
            "relative": relative_robustness(curve.tolist()),
        }
    return out


def _draws(segment: str, modality: str, kind: str, shape: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    """What one segment's noise is made of: normal for gaussian, uniform (T, D) for elements and (T, 1) for steps."""
    digest = hashlib.sha256(f"{seed}/{kind}/{modality}/{segment}".encode()).digest()
    random = np.random.default_rng(np.frombuffer(digest, np.uint32))
    if kind == "gaussian":
        return random.standard_normal(shape, dtype=np.float32)
    return random.random(shape if kind == "elements" else (shape[0], 1), dtype=np.float32)


def right_or_wrong(logits: dict[str, torch.Tensor], labels: dict[str, torch.Tensor]) -> dict[str, NDArray[np.int8]]:
    """Task -> (B,) 1 where right, 0 where wrong, -1 where unlabelled; 'action' where there are verb and noun."""
    out = {}
    for task, values in logits.items():
        if task in labels:
            right = (values.argmax(dim=1) == labels[task]).to(torch.int8)
            out[task] = torch.where(labels[task] >= 0, right, -torch.ones_like(right)).cpu().numpy()
    if {"verb", "noun"} <= set(out):
        out["action"] = np.minimum(out["verb"], out["noun"])
    return out
