"""Natural missingness, simulated: training segments of a complete set lack sensors for good.

Which segments lack what is a function of the seed and their ids, the same in every epoch, and nested: what is missing
at a lower rate is missing at a higher one.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mmcache.store.ground.errors import ConfigError, Problems
from mmcache.store.load.order import id_keys, keyed_uniform
from mmcache.store.load.streams import Stream


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
        draws = keyed_uniform(keys, seed, Stream.MISSING, own_stream)
        order = np.lexsort([keys, draws, ~whole, ~spare])  # those that can lose it, untouched ones first
        out[order[:wanted], column] = False
    return out
