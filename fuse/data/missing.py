"""Natural missingness, made by hand: a complete set becomes one whose segments lack sensors for good.

Which segments lack what is a function of the seed and their ids, the same in every epoch, and nested: what is missing
at a lower rate is missing at a higher one. A table of it can be saved and read back.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmcache.store.files.atomic import atomic_write
from mmcache.store.ground.errors import ConfigError, Problems
from mmcache.store.load.order import id_keys, keyed_uniform

_STREAM = 1 << 42  # apart from epochs and from the holdout


def with_missing(
    present: NDArray[np.bool_],
    keys: NDArray[np.uint64],
    seed: int,
    rates: Mapping[str, float],
    modalities: list[str],
) -> NDArray[np.bool_]:
    """`present` with round(r n) of the n segments that have a modality made to lack it.

    A segment loses a second modality only when no other is left to lose one, and its last one never, but for rate 1:
    then the modality is wholly absent, and segments that had nothing else have nothing.

    Args:
        present: (n, M), columns in the order of `modalities`.
        rates: modality -> r in 0..1. The sets of one modality are nested in its rate.

    Raises:
        ConfigError: a modality or rate is wrong, or the rates ask for more than can be missing.
    """
    problems = Problems()
    for name, rate in rates.items():
        if problems.check_name("modality to miss", name, modalities) and not 0 <= rate <= 1:
            problems.add(f"missing rate {name}={rate:g}: rates go from 0 to 1")
    problems.raise_if_any()
    out = present.copy()
    # Whole absences come first: what else a segment may lose depends on them.
    for name in sorted(rates, key=lambda name: (rates[name] < 1, name)):
        column, own_stream = modalities.index(name), int(id_keys([name])[0] >> np.uint64(1))
        has = present[:, column]
        wanted = round(rates[name] * int(has.sum()))
        if rates[name] == 1:
            out[:, column] = False
            continue
        spare = has & (out.sum(axis=1) > 1)
        if wanted > spare.sum():
            raise ConfigError(
                f"missing rate {name}={rates[name]:g} asks for {wanted} of {int(has.sum())} segments to lack {name}, "
                f"but only {int(spare.sum())} would then have anything left; lower the rates"
            )
        whole = out.sum(axis=1) == present.sum(axis=1)
        draws = keyed_uniform(keys, seed, _STREAM, own_stream)
        order = np.lexsort([keys, draws, ~whole, ~spare])  # those that can lose it, untouched ones first
        out[order[:wanted], column] = False
    return out


def draw_patterns(
    ids: list[str], modalities: list[str], rate: float, target: str | None = None, seed: int = 0
) -> pd.DataFrame:
    """A table of patterns (MAP): round(rate n) segments lack one modality, the target, else each one equally often.

    Returns:
        id, and a bool column for each modality: whether the segment keeps it.
    """
    share = {target: rate} if target is not None else dict.fromkeys(modalities, rate / len(modalities))
    present = np.ones((len(ids), len(modalities)), bool)
    kept = with_missing(present, id_keys(ids), seed, share, modalities)
    return pd.DataFrame({"id": ids, **dict(zip(modalities, kept.T, strict=True))})


def write_patterns(path: Path, table: pd.DataFrame) -> None:
    atomic_write(path, table.to_csv(index=False).encode())


def read_patterns(path: Path) -> pd.DataFrame:
    """What write_patterns wrote, or anybody's CSV of that form. Raises ConfigError when it is none."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is no readable table of patterns: {' '.join(str(error).split())}") from error
    wanted = "a column 'id' and one of True and False for each modality"
    if "id" not in table.columns or len(table.columns) < 2:
        raise ConfigError(f"{path} has the columns {', '.join(table.columns)}; a table of patterns has {wanted}")
    if table["id"].duplicated().any():
        raise ConfigError(f"{path} lists segment '{table['id'][table['id'].duplicated()].iloc[0]}' more than once")
    for column in table.columns.drop("id"):
        values = table[column].map({"True": True, "False": False, "1": True, "0": False})
        if values.isna().any():
            raise ConfigError(f"{path} has '{table[column][values.isna()].iloc[0]}' in {column}; it needs {wanted}")
        table[column] = values.astype(bool)
    return table


def apply_patterns(
    present: NDArray[np.bool_], ids: NDArray[np.object_] | list[str], modalities: list[str], table: pd.DataFrame
) -> NDArray[np.bool_]:
    """`present` without what the table says is missing; segments and modalities it does not name stay as they are.

    Raises:
        ConfigError: a segment would have nothing left.
    """
    named = [name for name in modalities if name in table.columns]
    kept = table.set_index("id")[named].reindex(ids)
    out = present.copy()
    for name in named:
        out[:, modalities.index(name)] &= kept[name].ne(False).to_numpy(bool)
    emptied = np.flatnonzero(present.any(axis=1) & ~out.any(axis=1))
    if len(emptied):
        raise ConfigError(
            f"the patterns leave segment '{ids[emptied[0]]}' with no modality ({len(emptied)} such); keep one of each"
        )
    return out
