"""One evaluation, every protocol: what a run's subsets table comes to, in the form of `mmcache evaluate --json`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmcache.fuse.data import segment_groups as groups
from mmcache.fuse.data.eligible import evaluated_rows
from mmcache.fuse.data.reported_split import reported_split
from mmcache.fuse.data.subsets import NATURAL
from mmcache.fuse.evaluation import curves as protocols
from mmcache.fuse.evaluation.bootstrap import intervals
from mmcache.fuse.evaluation.calibration import calibration_error
from mmcache.fuse.evaluation.inputs import stored_sources
from mmcache.fuse.evaluation.scoring import score
from mmcache.fuse.network.model import Model
from mmcache.fuse.runs.config import options_of, read_run_config
from mmcache.fuse.runs.files import SUBSETS_FILE, SUMMARY_FILE
from mmcache.fuse.runs.subsets_file import read_subsets
from mmcache.store.feature_store import FeatureStore
from mmcache.store.files.atomic import atomic_file, atomic_write
from mmcache.store.ground.errors import ConfigError

COMPLETE, WITH_NATURAL = RATES_OF = ("complete", "natural")  # segments that missing rates are shares of

__all__ = [
    "COMPLETE",
    "NATURAL",
    "RATES_OF",
    "SUBSETS_FILE",
    "SUMMARY_FILE",
    "correctness",
    "evaluate",
    "evaluated_rows",
    "natural_accuracy",
    "results",
    "score",
    "subsets_table",
    "task_names",
    "write_summary",
    "write_table",
]


def evaluate(
    run: str | Path,
    split: str | None = None,
    store: str | Path | None = None,
    device: str = "cpu",
    fresh: bool = False,
    protocol: str | None = None,
    prune: bool = False,
    rates: str = COMPLETE,
) -> dict[str, Any]:
    """The results of a run: accuracies for every subset, curves and summaries, in the form of `--json`.

    What the run has in subsets.parquet is used unless `fresh`, or unless another split, store or protocol is asked for.

    Args:
        protocol: another division of the segments, see FeatureStore.open.
        prune: leave out segments whose noun never occurs in train.
        rates: see results.

    Raises:
        ConfigError: `run` is no finished run, or the split is unknown or has no labels.
    """
    table, split = subsets_table(run, split, store, device, fresh, protocol)
    recipe = read_run_config(Path(run))["options"]["recipe"]
    return results(groups.prune(table) if prune else table, str(run), split, rates, recipe)


def subsets_table(
    run: str | Path,
    split: str | None = None,
    store: str | Path | None = None,
    device: str = "cpu",
    fresh: bool = False,
    protocol: str | None = None,
) -> tuple[pd.DataFrame, str]:
    """The subsets table of a run, and the split it is of. Arguments and errors as of `evaluate`."""
    run = Path(run)
    saved = read_run_config(run)
    own_split, own_protocol = saved["eval_split"], saved["options"]["data"]["protocol"]
    is_own = store is None and split in (None, own_split) and protocol in (None, own_protocol)
    if not fresh and is_own and (run / SUBSETS_FILE).exists():
        return read_subsets(run / SUBSETS_FILE, saved), own_split
    opened = FeatureStore.open(store or saved["store"], protocol=protocol or own_protocol)
    split = reported_split(split or (own_split if protocol in (None, own_protocol) else None), opened)
    model = Model.load(run, device)
    rows = evaluated_rows(opened, split, list(stored_sources(model.spec, opened).values()))
    table = score(model, opened, rows, options_of(saved).data.k, device)
    if is_own:
        write_table(run, table)
    return table, split


def task_names(table: pd.DataFrame) -> list[str]:
    """The tasks a subsets table holds, 'action' last."""
    return [column.removesuffix("_top1") for column in table.columns if column.endswith("_top1")]


def correctness(table: pd.DataFrame, task: str, measure: str = "top1") -> dict[str, NDArray[np.bool_]]:
    """Subset -> (n,) bool, over the same segments in the same order (by id); unlabelled ones are left out."""
    wide = _wide(_labelled(table, task), f"{task}_{measure}")
    return {name: values.astype(bool) for name, values in wide.items()}


def _is_pair(table: pd.DataFrame, task: str) -> bool:
    """Whether an action is a verb and a noun, as EPIC has it; NTU, Something-Something and others label it itself."""
    return task == "action" and "action_label" not in table.columns


def _labelled(table: pd.DataFrame, task: str) -> pd.DataFrame:
    for part in ("verb", "noun") if _is_pair(table, task) else (task,):
        table = table[table[f"{part}_label"] >= 0]
    return table


def _wide(table: pd.DataFrame, column: str) -> dict[str, NDArray[Any]]:
    """Subset -> (n,) values of complete segments, ordered by id."""
    complete = table[table["subset"] != NATURAL]
    place, ids = pd.factorize(complete["id"], sort=True)
    which, names = pd.factorize(complete["subset"], sort=True)
    values = complete[column].to_numpy()
    wide = np.empty((len(names), len(ids)), values.dtype)
    wide[which, place] = values
    return dict(zip(map(str, names), wide, strict=True))


def _confidence(table: pd.DataFrame, task: str) -> "pd.Series[float]":
    """How sure the model was of its first guess; of an action, that of verb and noun together."""
    if _is_pair(table, task):
        return table["verb_confidence"] * table["noun_confidence"]
    return table[f"{task}_confidence"]


def _classes(table: pd.DataFrame, task: str) -> "pd.Series[int]":
    """A number for each class; an action is a pair."""
    if _is_pair(table, task):
        return table["verb_label"].astype(np.int64) * (1 << 20) + table["noun_label"]
    return table[f"{task}_label"]


def results(
    table: pd.DataFrame, run: str, split: str, rates: str = COMPLETE, recipe: str | None = None
) -> dict[str, Any]:
    """Everything derived from a subsets table: the form of `mmcache evaluate --json`.

    Args:
        rates: what missing rates are shares of: the segments that are complete, or all of them, those that lack
            something by nature counted as incomplete at every rate (natural). The results say which, as rates_of.
        recipe: what the run was trained with, which the results repeat.

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
    out |= {"subsets": {}, "rates": {}, "drop": {}, "summary": {}, "patterns": {}, "intervals": {}, "groups": {}}
    for task in task_names(table):
        labelled = _labelled(complete, task)
        if labelled.empty:
            continue
        top1 = {name: values.astype(bool) for name, values in _wide(labelled, f"{task}_top1").items()}
        for name, figures in _subset_figures(labelled, task, top1).items():
            out["subsets"].setdefault(name, {})[task] = figures
        modalities = sorted(protocols.parts(protocols.full_subset(top1)))
        for modality in modalities if len(modalities) > 1 else []:
            natural = _natural_top1(table, task) if rates == WITH_NATURAL else None
            out["rates"].setdefault(modality, {})[task] = protocols.missing_rate_curve(top1, modality, natural=natural)
        out["drop"][task] = protocols.drop_curve(top1)
        out["summary"][task] = protocols.summary(top1)
        out["patterns"][task] = protocols.pattern_curve(top1)
        out["intervals"][task] = intervals(top1)
        one_each = labelled.drop_duplicates("id").sort_values("id")  # the order of the arrays above
        for group, which in groups.members(one_each, task).items():
            out["groups"].setdefault(group, {})[task] = groups.group_accuracies(top1, which)
    out["natural"] = natural_accuracy(table)
    out["rates_of"] = rates
    return out if recipe is None else {**out, "recipe": recipe}


def _natural_top1(table: pd.DataFrame, task: str) -> NDArray[np.bool_]:
    """(k,) whether each segment that is incomplete by nature is right, seen with what it has."""
    return _labelled(table[table["subset"] == NATURAL], task)[f"{task}_top1"].to_numpy(bool)


def _subset_figures(
    labelled: pd.DataFrame, task: str, top1: dict[str, NDArray[np.bool_]]
) -> dict[str, dict[str, float]]:
    """Subset -> top-1, top-5, mean class accuracy and calibration error, in percent."""
    top5 = _wide(labelled, f"{task}_top5")
    confidence = _wide(labelled.assign(_confidence=_confidence(labelled, task)), "_confidence")
    classes = _wide(labelled.assign(_class=_classes(labelled, task)), "_class")
    return {
        name: {
            "top1": protocols.accuracy(top1[name]),
            "top5": protocols.accuracy(top5[name].astype(bool)),
            "class_mean": protocols.class_mean(top1[name], classes[name]),
            "ece": calibration_error(confidence[name], top1[name]),
        }
        for name in sorted(top1)
    }


def natural_accuracy(table: pd.DataFrame) -> dict[str, Any]:
    """Top-1 over all segments with whatever they have: the complete ones in full, the others as they are."""
    complete = table[table["subset"] != NATURAL]
    full = max(complete["subset"].unique(), key=lambda name: len(protocols.parts(name)), default=NATURAL)
    as_is = table[table["subset"].isin([full, NATURAL])]
    out: dict[str, Any] = {"n": len(as_is)}
    for task in task_names(table):
        labelled = _labelled(as_is, task)
        if len(labelled):
            out[task] = protocols.accuracy(labelled[f"{task}_top1"].to_numpy(bool))
    return out


def write_table(run: Path, table: pd.DataFrame) -> None:
    """subsets.parquet, whole or not at all."""
    with atomic_file(run / SUBSETS_FILE) as file:
        table.to_parquet(file, index=False)


def write_summary(run: Path, result: dict[str, Any], extra: dict[str, Any]) -> None:
    """summary.json, whole or not at all: a run that has one is finished."""
    atomic_write(run / SUMMARY_FILE, (json.dumps({**result, **extra}, indent=1) + "\n").encode())
