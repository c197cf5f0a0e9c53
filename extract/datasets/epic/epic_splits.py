"""The splits of EPIC-KITCHENS-100 that published protocols use.

    split_ek90            EK*: train and holdout are 90 and 10 % of the train split, to train on and to select models
                          by; validation, reported on, is that split without nouns that never occur in train. The list
                          of the papers is not published: which narrations are held out is ours, by a hash of their ids
    unseen                the participant has no video in train, by the official list of the segment's split
    tail_verb, tail_noun  the class is rare, by the official lists; an action is in the tail when either is
    noun_in_train         some segment of train has the noun; False where there is no label

`unseen`, `tail_verb` and `tail_noun` are left out where their lists are not among the annotations.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from mmcache.extract.datasets.files.annotation_files import read_csv
from mmcache.store.ground.errors import Problems
from mmcache.store.load.order import id_keys
from mmcache.store.segments.segment_table import UNLABELLED

_UNSEEN_FILES = {
    "validation": "EPIC_100_unseen_participant_ids_validation.csv",
    "test": "EPIC_100_unseen_participant_ids_test.csv",
}
_TAIL_FILES = {"verb": "EPIC_100_tail_verbs.csv", "noun": "EPIC_100_tail_nouns.csv"}


def add_protocols(segments: pd.DataFrame, tasks: dict[str, list[str]], folder: Path) -> pd.DataFrame:
    """`segments` with the columns above.

    Args:
        folder: of the annotations.

    Raises:
        ConfigError: a list is there and is not of the official form.
    """
    problems = Problems()
    split, noun = segments["split"], segments["noun"]
    in_train = (noun != UNLABELLED) & noun.isin(set(noun[split == "train"]))
    added: dict[str, pd.Series | np.ndarray] = {"split_ek90": ek90(segments["id"], split, in_train)}
    present = [name for name in _UNSEEN_FILES if (split == name).any()]
    if all((folder / _UNSEEN_FILES[name]).exists() for name in present):
        lists = {name: _read_list(folder / _UNSEEN_FILES[name], "participant_id", problems) for name in present}
        unseen = [who in lists.get(where, ()) for who, where in zip(segments["participant"], split, strict=True)]
        added["unseen"] = np.array(unseen, bool)
    for task, file in _TAIL_FILES.items():
        if (folder / file).exists():
            tail = _read_list(folder / file, task, problems)
            known = {str(label) for label in range(len(tasks[task]))}
            if not tail <= known:
                problems.add(f"{folder / file}: '{min(tail - known)}' is not one of 0..{len(known) - 1}")
            added[f"tail_{task}"] = segments[task].astype(str).isin(tail)
    problems.raise_if_any()
    return segments.assign(**added, noun_in_train=in_train)


def ek90(ids: pd.Series, split: pd.Series, in_train: pd.Series) -> np.ndarray:
    """The part of EK* each segment is in, '' for none.

    A narration of train is held out when the first eight bytes of BLAKE2b of its id, a little-endian number, are a
    multiple of ten: whatever else is in the file.
    """
    held_out = id_keys(ids) % 10 == 0
    train, reported = (split == "train").to_numpy(), (split == "validation").to_numpy() & in_train.to_numpy()
    return np.select([train & held_out, train, reported], ["holdout", "train", "validation"], default="")


def _read_list(path: Path, column: str, problems: Problems) -> set[str]:
    table = read_csv(path, [column], problems)
    return set() if table is None else set(table[column].str.strip()) - {""}
