"""Few-shot episodes over classes that training has never seen, from fused embeddings (methods 1.6: MMG-Ego4D).

A class's prototype is the mean embedding of its supports; a query goes to the nearest one (squared Euclidean distance,
UNSURE in the paper). Supports and queries may be seen through different modality sets.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmcache.fuse.data.episodes import draw_episodes
from mmcache.fuse.data.segment_groups import novel_rows
from mmcache.fuse.data.subsets import subset_name, subsets
from mmcache.fuse.evaluation.inputs import Inputs, complete_inputs
from mmcache.fuse.network.model import Model
from mmcache.store.feature_store import FeatureStore
from mmcache.store.ground.errors import ConfigError

WAYS, SHOTS, QUERIES, EPISODES = 5, 5, 15, 600
_TRAIN = "train"


def novel_classes(store: FeatureStore, split: str, task: str) -> NDArray[np.int64]:
    """The classes of a split that training never learns, ascending: no segment of train has them, or they are novel."""
    labels, splits = store.labels(task), store.segments["split"].to_numpy()
    learned = (splits == _TRAIN) & ~novel_rows(store.segments)
    here, known = np.unique(labels[splits == split]), np.unique(labels[learned])
    return np.setdiff1d(here[here >= 0], known)


def few_shot(
    model: Model,
    store: FeatureStore,
    split: str,
    k: int,
    device: str = "cpu",
    task: str | None = None,
    ways: int = WAYS,
    shots: int = SHOTS,
    queries: int = QUERIES,
    episodes: int = EPISODES,
    seed: int = 0,
) -> dict[str, Any]:
    """Accuracy of every pair of a support and a query modality set, over the same episodes.

    Args:
        task: whose classes are told apart; None = the first.
        queries: a class and episode.

    Returns:
        ways, shots, queries, episodes, classes; accuracy: support subset -> query subset -> percent and half the width
        of its 95 % interval over episodes.

    Raises:
        ConfigError: too few novel classes have enough complete segments.
    """
    task = task or next(iter(store.tasks))
    inputs, labels = _novel_inputs(model, store, split, k, device, task)
    found, counts = np.unique(labels, return_counts=True)
    usable = int((counts >= shots + queries).sum())
    if usable < ways:
        raise ConfigError(
            f"few-shot episodes of {ways} classes with {shots} + {queries} segments each: split '{split}' has "
            f"{len(found)} {task} classes that train has not, {usable} of them with so many complete segments. "
            "It takes a split (or --protocol) of novel classes, as mmg-ego4d has."
        )
    drawn = draw_episodes(np.arange(len(labels)), labels, ways, shots, queries, episodes, seed, 0)
    embedded = _embeddings(model, inputs)
    figures = {
        support: {query: _accuracy(embedded[support], embedded[query], drawn, ways, shots) for query in embedded}
        for support in embedded
    }
    sizes = {"ways": ways, "shots": shots, "queries": queries, "episodes": episodes}
    return {**sizes, "task": task, "classes": usable, "accuracy": figures}


def _novel_inputs(
    model: Model, store: FeatureStore, split: str, k: int, device: str, task: str
) -> tuple[Inputs, NDArray[np.int64]]:
    """The complete segments of novel classes, and their labels."""
    rows = store.rows(split)
    rows = rows[np.isin(store.labels(task)[rows], novel_classes(store, split, task))]
    inputs = complete_inputs(model, store, rows, k, device)
    return inputs, store.labels(task)[inputs.rows]


@torch.inference_mode()
def _embeddings(model: Model, inputs: Inputs) -> dict[str, torch.Tensor]:
    """Subset -> (n, F) fused embeddings, in the order of the inputs' rows."""
    occurring = np.flatnonzero(inputs.present.any(axis=0))
    masks = np.zeros((2 ** len(occurring) - 1, len(inputs.names)), bool)
    masks[:, occurring] = subsets(len(occurring))
    out: dict[str, list[torch.Tensor]] = {}
    for batch in inputs.batches():
        for mask in masks:
            kept = torch.from_numpy(mask).to(batch.present.device).expand(len(batch.rows), -1)
            outputs = model.outputs(batch.tokens, batch.lengths, kept & batch.present)
            out.setdefault(subset_name(mask, inputs.names), []).append(outputs.penultimate().cpu())
    return {name: torch.cat(parts) for name, parts in out.items()}


def _accuracy(
    support: torch.Tensor, query: torch.Tensor, drawn: NDArray[np.int64], ways: int, shots: int
) -> dict[str, float]:
    """Over episodes (E, W * (S + Q)) as draw_episodes has them."""
    places = torch.from_numpy(drawn)
    supports, queries = places[:, : ways * shots], places[:, ways * shots :]
    prototypes = support[supports].unflatten(1, (ways, shots)).mean(dim=2)  # (E, W, F)
    nearest = torch.cdist(query[queries], prototypes).argmin(dim=2)  # (E, W * Q)
    truth = torch.arange(ways).repeat_interleave(queries.shape[1] // ways)
    each = 100.0 * (nearest == truth).double().mean(dim=1)
    half = 1.96 * each.std().item() / len(each) ** 0.5 if len(each) > 1 else 0.0
    return {"mean": each.mean().item(), "ci95": half}
