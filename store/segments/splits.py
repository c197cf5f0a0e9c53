"""Names of splits: the usual spellings of train, validation and test, and the split that results are reported on."""

import re
from collections.abc import Iterable

import pandas as pd

from mmcache.store.ground.errors import Problems, unknown_name
from mmcache.store.ground.text import strip_cell

TRAIN, VALIDATION, TEST = "train", "validation", "test"
_USUAL = {
    TRAIN: ("train", "training", "trn", "tr"),
    VALIDATION: ("validation", "val", "valid", "va", "validate", "dev", "devel", "development", "eval", "evaluation"),
    TEST: ("test", "testing", "tst", "te"),
}
_KIND = re.compile("[ _-]*(?:set|split|data|partition|subset)s?$")  # as in 'Training set', test_split
_CANONICAL = {name: split for split, names in _USUAL.items() for name in names}


def canonical_split(name: str) -> str:
    """The name under which a split is stored: usual names become train, validation or test, others lower case."""
    plain = strip_cell(name).casefold()
    return _CANONICAL.get(_KIND.sub("", plain), plain)


def canonical_splits(column: "pd.Series[str]", where: str, problems: Problems) -> "pd.Series[str]":
    """The splits of a table under their stored names (see canonical_split); an empty cell is train.

    Args:
        where: the table, for messages.
        problems: collects different names that would become one split, such as 'dev' and 'val' in one table.
    """
    given = column.fillna("").astype(str).map(strip_cell)
    spellings: dict[str, dict[str, str]] = {}
    for name in given.unique():
        if name:
            spellings.setdefault(canonical_split(name), {}).setdefault(name.casefold(), name)
    for split, names in spellings.items():
        if len(names) > 1:
            listed = " and ".join(f"'{name}'" for name in sorted(names.values()))
            problems.add(f"{where}: the splits {listed} would all become '{split}'; rename those that are another one")
    return given.map({name: canonical_split(name) or TRAIN for name in given.unique()})


def usual_eval_split(names: Iterable[str]) -> str:
    """The split that results are reported on: test, else validation, else the only one besides train, else ''."""
    others: dict[str, str] = {}
    for name in names:
        if canonical_split(name) != TRAIN:
            others.setdefault(canonical_split(name), name)
    for split in (TEST, VALIDATION):
        if split in others:
            return others[split]
    return next(iter(others.values())) if len(others) == 1 else ""


def choose_eval_split(stated: object, names: Iterable[str]) -> str:
    """The split that results are reported on: the stated one if it is among `names` and not train, else the usual one.

    '' when neither exists. This is the one rule for manifests, imports, merges and opened stores.
    """
    names = list(names)
    found = [name for name in names if isinstance(stated, str) and canonical_split(name) == canonical_split(stated)]
    return next((name for name in found if canonical_split(name) != TRAIN), usual_eval_split(names))


def matching_splits(asked: Iterable[str], available: Iterable[str], problems: Problems) -> list[str]:
    """The available splits that were asked for, by any of their usual names.

    Args:
        problems: collects names that match no split, each with the nearest split.
    """
    available = list(available)
    found = []
    for name in asked:
        same = [split for split in available if split == name]
        same = same or [split for split in available if canonical_split(split) == canonical_split(name)]
        if not same:
            problems.add(unknown_name("split", name, available))
        found += [split for split in same if split not in found]
    return found
