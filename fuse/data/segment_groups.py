"""Parts of a split that papers report on their own: EPIC's unseen participants and tail classes."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmcache.fuse.evaluation.curves import Correct, accuracy
from mmcache.store.ground.errors import ConfigError

# Columns of a store's segments, where the data set gives them; scoring carries them along.
UNSEEN, TAIL_VERB, TAIL_NOUN, NOUN_IN_TRAIN = COLUMNS = ("unseen", "tail_verb", "tail_noun", "noun_in_train")


CLASS_SET = "class_set"  # base or novel, where the data set has classes for few-shot episodes (MMG-Ego4D)


def novel_rows(segments: pd.DataFrame) -> NDArray[np.bool_]:
    """(N,) the segments of novel classes: labels that training never has."""
    if CLASS_SET not in segments.columns:
        return np.zeros(len(segments), bool)
    return (segments[CLASS_SET] == "novel").to_numpy()


def carried(segments: pd.DataFrame) -> dict[str, NDArray[np.bool_]]:
    """The columns of groups that there are, as bools."""
    return {name: segments[name].fillna(0).to_numpy().astype(bool) for name in COLUMNS if name in segments.columns}


def prune(table: pd.DataFrame) -> pd.DataFrame:
    """A subsets table without segments whose noun never occurs in train (KARMMA).

    Raises:
        ConfigError: the data set does not say which these are.
    """
    if NOUN_IN_TRAIN not in table.columns:
        raise ConfigError(
            f"which nouns occur in train is not known: the segments have no column '{NOUN_IN_TRAIN}'. "
            "It is there for data sets with a noun task, such as epic; evaluate with --fresh if the store has it now."
        )
    return table[table[NOUN_IN_TRAIN].astype(bool)]


def members(table: pd.DataFrame, task: str) -> dict[str, NDArray[np.bool_]]:
    """Group -> which rows of `table` belong to it, for one task.

    As in the official evaluation, a tail action is one with a tail verb or a tail noun.
    """
    out: dict[str, NDArray[np.bool_]] = {}
    if UNSEEN in table.columns:
        out[UNSEEN] = table[UNSEEN].to_numpy(bool)
    tails = {"verb": [TAIL_VERB], "noun": [TAIL_NOUN], "action": [TAIL_VERB, TAIL_NOUN]}.get(task, [])
    if tails and set(tails) <= set(table.columns):
        out["tail"] = np.asarray(table[tails].to_numpy(bool).any(axis=1))
    return out


def group_accuracies(correct: Correct, which: NDArray[np.bool_]) -> dict[str, Any]:
    """Size of a group and the accuracy on it, subset by subset; None for an empty group."""
    figures = {name: accuracy(values[which]) if which.any() else None for name, values in sorted(correct.items())}
    return {"n": int(which.sum()), "subsets": figures}
