"""Run a model once on each modality subset of each segment, and keep what was right: the subsets table."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from mmcache.fuse.data import segment_groups
from mmcache.fuse.data.subsets import NATURAL, subset_name, subsets
from mmcache.fuse.evaluation.inputs import Inputs
from mmcache.fuse.network.model import Model
from mmcache.store.feature_store import FeatureStore
from mmcache.store.load.loader import Batch, Loader

_AT_ONCE, _AT_ONCE_ON_CPU = 1 << 16, 1 << 12  # tokens in one pass; a CPU's caches hold no more
_TOP = 5


@torch.inference_mode()
def score(
    model: Model,
    store: FeatureStore,
    rows: NDArray[np.int64],
    k: int,
    device: str = "cpu",
    loader: Loader | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    autocast: bool = False,
) -> pd.DataFrame:
    """Run every subset of every segment once.

    Segments that have all modalities (of those that occur among the rows) are run for each subset; the others once,
    with what they have, under the subset name 'natural'.

    Args:
        rows: of the store, labelled.
        loader: see Inputs.
        autocast: in bfloat16 where training is, for figures that only choose between epochs.

    Returns:
        One row a segment and subset: id, subset, and for each task <task>_label, _pred, _top1, _top5, _confidence;
        a task 'action' (verb and noun both right) where both exist, without label and pred; and the columns of
        segment_groups.COLUMNS that the store has.
    """
    inputs = Inputs(model, store, rows, k, device, loader)
    occurring = np.flatnonzero(inputs.present.any(axis=0))
    masks = np.zeros((2 ** len(occurring) - 1, len(inputs.names)), bool)
    masks[:, occurring] = subsets(len(occurring))
    masks = np.concatenate([masks, masks[-1:]])  # what is incomplete, natural, comes last
    names = np.array([*(subset_name(mask, inputs.names) for mask in masks[:-1]), NATURAL], object)
    complete = (inputs.present | ~masks[-1]).all(axis=1)
    parts: dict[str, list[NDArray[Any]]] = {}
    done = 0
    for batch in inputs.batches():
        here = complete[done : done + len(batch.rows)]
        for segment, which in _looks(model, here, masks):
            index, seen = torch.from_numpy(segment).to(device), torch.from_numpy(masks[which]).to(device)
            with torch.autocast(batch.present.device.type, torch.bfloat16, enabled=autocast):
                logits = model(
                    _fed(model, {m: value[index] for m, value in batch.tokens.items()}, masks[which]),
                    batch.present[index],
                    seen,
                    {m: value[index] for m, value in batch.lengths.items()},
                )
            piece = {"row": batch.rows[segment], "subset": names[which], **_correctness(logits, batch, index)}
            for column, values in piece.items():
                parts.setdefault(column, []).append(values)
        done += len(batch.rows)
        progress(done, len(rows))
    table = {column: np.concatenate(values) for column, values in parts.items()}
    row = table.pop("row")
    ids = store.segments["id"].to_numpy()[row]
    extras = {name: values[row] for name, values in segment_groups.carried(store.segments).items()}
    return pd.DataFrame({"id": ids, **table, **extras})


def _looks(
    model: Model, complete: NDArray[np.bool_], masks: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """(P,) segments of a batch and (P,) masks to run them with, so many at once as are run well together.

    Args:
        complete: (B,), those that are run with every mask but the last, which is for the others.
    """
    whole, rest = np.flatnonzero(complete), np.flatnonzero(~complete)
    segment = np.concatenate([np.tile(whole, len(masks) - 1), rest])
    which = np.concatenate([np.repeat(np.arange(len(masks) - 1), len(whole)), np.full(len(rest), len(masks) - 1)])
    # What is missing costs nothing where its tokens are left out, which all that are run together must agree on.
    apart = np.flatnonzero(np.diff(which)) + 1 if model.skips_missing else np.empty(0, np.int64)
    tokens = sum(n for _, n, _ in model.spec.modalities.values())
    on_cpu = next(model.parameters()).device.type == "cpu"
    size = max(1, (_AT_ONCE_ON_CPU if on_cpu else _AT_ONCE) // tokens)
    for alike in np.split(np.arange(len(segment)), apart):
        for start in range(0, len(alike), size):
            chosen = alike[start : start + size]
            yield segment[chosen], which[chosen]


def _fed(model: Model, tokens: Mapping[str, torch.Tensor], masks: NDArray[np.bool_]) -> Mapping[str, torch.Tensor]:
    """Tokens as the model takes them: where it can do without those of what no mask has, it gets none."""
    seen = {name for name, column in zip(model.spec.names, masks.T, strict=True) if column.any()}
    return {name: values for name, values in tokens.items() if name in seen or not model.skips_missing}


def _correctness(logits: dict[str, torch.Tensor], batch: Batch, index: torch.Tensor) -> dict[str, NDArray[Any]]:
    out: dict[str, torch.Tensor] = {}
    top: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    for task, values in logits.items():
        if task not in batch.labels:
            continue  # another store may have fewer tasks
        label = batch.labels[task][index]
        log_p = values.float().log_softmax(dim=-1)
        best, classes = log_p.topk(min(_TOP, values.shape[1]), dim=-1)
        top[task] = best, classes
        hit = classes == label[:, None]
        out |= {f"{task}_label": label, f"{task}_pred": classes[:, 0]}
        out |= {
            f"{task}_top1": hit[:, 0],
            f"{task}_top5": hit.any(dim=1),
            f"{task}_confidence": best[:, 0].exp(),
        }
    if {"verb", "noun"} <= set(top):
        # The best pairs of two independent heads lie among the pairs of their best classes.
        joint = (top["verb"][0][:, :, None] + top["noun"][0][:, None, :]).flatten(1)
        order = joint.topk(min(_TOP, joint.shape[1]), dim=-1).indices
        nouns = top["noun"][1].shape[1]
        verb = top["verb"][1].gather(1, order // nouns) == batch.labels["verb"][index][:, None]
        noun = top["noun"][1].gather(1, order % nouns) == batch.labels["noun"][index][:, None]
        both = verb & noun
        out |= {"action_top1": out["verb_top1"] & out["noun_top1"], "action_top5": both.any(dim=1)}
    return {name: value.cpu().numpy() for name, value in out.items()}
