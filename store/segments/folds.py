"""Leave-one-group-out folds: one person, video or kitchen is the test, all others are for training."""

import pandas as pd

from mmcache.store.ground.errors import ConfigError, unknown_name
from mmcache.store.segments.splits import TEST, TRAIN


def group_column(segments: pd.DataFrame, column: str) -> "pd.Series[str]":
    """The group of each segment, as text.

    Raises:
        ConfigError: the segments have no such column, or it is empty for some of them.
    """
    if column not in segments.columns:
        raise ConfigError(unknown_name("column of the segments", column, [str(name) for name in segments.columns]))
    groups = segments[column]
    empty = groups.isna() | (groups.astype(str).str.strip() == "")
    if empty.any():
        raise ConfigError(
            f"{int(empty.sum())} of {len(segments)} segments have an empty cell in the column '{column}', the first of "
            f"them {segments['id'][empty].iloc[0]}: groups cannot be kept apart by it"
        )
    return groups.astype(str)


def fold_names(segments: pd.DataFrame, column: str) -> list[str]:
    """The groups of a column, one fold each. Raises ConfigError, see group_column."""
    return sorted(group_column(segments, column).unique())


def fold_split(segments: pd.DataFrame, column: str, name: str) -> "pd.Series[str]":
    """The split of each segment in the fold that tests group `name`: test, or train for those of every other group.

    Raises:
        ConfigError: see group_column; no segment is in that group, or all segments are.
    """
    groups = group_column(segments, column)
    tested = groups == name
    if not tested.any():
        raise ConfigError(unknown_name(f"group in the column '{column}'", name, fold_names(segments, column)))
    if tested.all():
        raise ConfigError(f"every segment has {column} {name}: nothing is left to train on")
    return tested.map({True: TEST, False: TRAIN})
