"""One evaluation, every protocol: run each modality subset once, keep what was right, derive the rest."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from mmcache.fuse import protocols
from mmcache.fuse.masks import subset_name, subsets
from mmcache.fuse.model import Model, config_of, read_run_config
from mmcache.store.errors import ConfigError
from mmcache.store.feature_store import FeatureStore
from mmcache.store.loader import Batch, Loader

SUBSETS_FILE, SUMMARY_FILE = "subsets.parquet", "summary.json"
NATURAL = "natural"  # the "subset" of segments that lack something by nature: whatever they have
_BATCH = 64
_TOP = 5


def evaluate(
    run: str | Path,
    split: str | None = None,
    store: str | Path | None = None,
    device: str = "cpu",
    fresh: bool = False,
) -> dict[str, Any]:
    """The results of a run: accuracies for every subset, curves and summaries, in the form of `--json`.

    What the run has in subsets.parquet is used unless `fresh`, or unless another split or store is asked for.

    Raises:
        ConfigError: `run` is no finished run, or the split is unknown or has no labels.
    """
    run = Path(run)
    saved = read_run_config(run)
    own_split = saved["eval_split"]
    if not fresh and store is None and split in (None, own_split) and (run / SUBSETS_FILE).exists():
        table, split = pd.read_parquet(run / SUBSETS_FILE), own_split
    else:
        split = split or own_split
        opened = FeatureStore.open(store or saved["store"])
        model = Model.load(run, device)
        rows = evaluated_rows(opened, split, model_sources(model))
        table = score(model, opened, rows, config_of(saved).k, device)
        if store is None and split == own_split:
            table.to_parquet(run / SUBSETS_FILE, index=False)
    return results(table, run=str(run), split=split)


def evaluated_rows(store: FeatureStore, split: str, modalities: list[str]) -> NDArray[np.int64]:
    """The labelled rows of a split that have any of the modalities.

    Raises:
        ConfigError: the split is unknown, or no segment of it is labelled and cached.
    """
    rows = store.rows(split, modalities)
    labelled = np.any([store.labels(task)[rows] >= 0 for task in store.tasks], axis=0)
    if not labelled.any():
        raise ConfigError(
            f"split '{split}' of {store.path} has no labelled segment with cached tokens; "
            f"its splits are {', '.join(store.meta.splits)}. Choose one with --eval-split, or extract more."
        )
    return rows[labelled]


@torch.inference_mode()
def score(
    model: Model,
    store: FeatureStore,
    rows: NDArray[np.int64],
    k: int,
    device: str = "cpu",
    loader: Loader | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> pd.DataFrame:
    """Run every subset of every segment once.

    Segments that have all modalities (of those that occur among the rows) are run for each subset; the others once,
    with what they have, under the subset name 'natural'.

    Args:
        rows: of the store, labelled.
        loader: reuse this one, which must hold the rows and the model's modalities; None = make one.

    Returns:
        One row a segment and subset: id, subset, and for each task <task>_label, _pred, _top1, _top5, _confidence;
        a task 'action' (verb and noun both right) where both exist, without label and pred.
    """
    names = model.spec.names
    sources = model_sources(model)
    occurring = np.flatnonzero(store.presence_matrix(sources)[rows].any(axis=0))
    loader = loader or Loader(store, sources, rows, k=k, device=device)
    masks = np.zeros((2 ** len(occurring) - 1, len(names)), bool)
    masks[:, occurring] = subsets(len(occurring))
    full = torch.from_numpy(masks[-1]).to(device)
    ids = store.segments["id"].to_numpy()
    pieces, done = [], 0
    for batch in loader.in_order(batch_size=_BATCH, rows=rows):
        tokens = dict(zip(names, batch.tokens.values(), strict=True))
        lengths = dict(zip(names, batch.lengths.values(), strict=True))
        complete = (batch.present | ~full).all(dim=1)
        runs = [(subset_name(mask, names), torch.from_numpy(mask).to(device), complete) for mask in masks]
        runs.append((NATURAL, full, ~complete))
        for name, mask, chosen in runs:
            index = chosen.nonzero().squeeze(1)
            if len(index):
                logits = model(
                    {m: value[index] for m, value in tokens.items()},
                    batch.present[index],
                    mask.expand(len(index), -1),
                    {m: value[index] for m, value in lengths.items()},
                )
                piece = {"id": ids[batch.rows[index.cpu().numpy()]], "subset": name}
                pieces.append(pd.DataFrame({**piece, **_correctness(logits, batch, index)}))
        done += len(batch.rows)
        progress(done, len(rows))
    return pd.concat(pieces, ignore_index=True)


def model_sources(model: Model) -> list[str]:
    """The model's modalities as names of token arrays, encoder included."""
    return [f"{name}/{encoder}" for name, (encoder, _, _) in model.spec.modalities.items()]


def _correctness(logits: dict[str, torch.Tensor], batch: Batch, index: torch.Tensor) -> dict[str, NDArray[Any]]:
    out: dict[str, torch.Tensor] = {}
    top: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    for task, values in logits.items():
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
    if {"verb", "noun"} <= set(logits):
        # The best pairs of two independent heads lie among the pairs of their best classes.
        joint = (top["verb"][0][:, :, None] + top["noun"][0][:, None, :]).flatten(1)
        order = joint.topk(min(_TOP, joint.shape[1]), dim=-1).indices
        nouns = top["noun"][1].shape[1]
        verb = top["verb"][1].gather(1, order // nouns) == batch.labels["verb"][index][:, None]
        noun = top["noun"][1].gather(1, order % nouns) == batch.labels["noun"][index][:, None]
        both = verb & noun
        out |= {"action_top1": out["verb_top1"] & out["noun_top1"], "action_top5": both.any(dim=1)}
    return {name: value.cpu().numpy() for name, value in out.items()}


def task_names(table: pd.DataFrame) -> list[str]:
    """The tasks a subsets table holds, 'action' last."""
    return [column.removesuffix("_top1") for column in table.columns if column.endswith("_top1")]


def correctness(table: pd.DataFrame, task: str, measure: str = "top1") -> dict[str, NDArray[np.bool_]]:
    """Subset -> (n,) bool, over the same segments in the same order (by id); unlabelled ones are left out."""
    labelled = table
    for part in ("verb", "noun") if task == "action" else (task,):
        labelled = labelled[labelled[f"{part}_label"] >= 0]
    wide = labelled[labelled["subset"] != NATURAL].pivot(index="id", columns="subset", values=f"{task}_{measure}")
    return {str(name): wide[name].to_numpy(bool) for name in wide.columns}


def results(table: pd.DataFrame, run: str, split: str) -> dict[str, Any]:
    """Everything derived from a subsets table: the form of `mmcache evaluate --json`.

    Raises:
        ConfigError: no segment has all the modalities, so that subsets cannot be compared.
    """
    complete = table[table["subset"] != NATURAL]
    if complete.empty:
        raise ConfigError(
            f"no segment of split '{split}' has all modalities, so its subsets cannot be compared on equal terms. "
            "Train with fewer --modalities, or evaluate on another --split."
        )
    out: dict[str, Any] = {"run": run, "split": split, "n": int(complete["id"].nunique())}
    out |= {"subsets": {}, "rates": {}, "drop": {}, "summary": {}}
    for task in task_names(table):
        top1, top5 = correctness(table, task), correctness(table, task, "top5")
        if not top1:
            continue
        for name in sorted(top1):
            figures = {"top1": protocols.accuracy(top1[name]), "top5": protocols.accuracy(top5[name])}
            out["subsets"].setdefault(name, {})[task] = figures
        modalities = sorted(protocols.parts(protocols.full_subset(top1)))
        for modality in modalities if len(modalities) > 1 else []:
            out["rates"].setdefault(modality, {})[task] = protocols.missing_rate_curve(top1, modality)
        out["drop"][task] = protocols.drop_curve(top1)
        out["summary"][task] = protocols.summary(top1)
    return out


def natural_accuracy(table: pd.DataFrame) -> dict[str, Any]:
    """Top-1 over all segments with whatever they have: the complete ones in full, the others as they are."""
    complete = table[table["subset"] != NATURAL]
    full = max(complete["subset"].unique(), key=lambda name: len(protocols.parts(name)))
    as_is = table[table["subset"].isin([full, NATURAL])]
    return {
        "n": len(as_is),
        **{task: protocols.accuracy(as_is[f"{task}_top1"].to_numpy(bool)) for task in task_names(table)},
    }


def write_summary(run: Path, result: dict[str, Any], extra: dict[str, Any]) -> None:
    (run / SUMMARY_FILE).write_text(json.dumps({**result, **extra}, indent=1) + "\n")
