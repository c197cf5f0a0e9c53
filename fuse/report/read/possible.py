"""What could have been reached at all, where the making of the data is known: the data set `oracle`."""

import dataclasses
import functools
import hashlib
import itertools
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy import stats

from mmcache.common.oracle_world import FACTORS, NAME, class_of
from mmcache.fuse.evaluation.bayes import bayes_accuracy
from mmcache.fuse.report.read.found import FoundRun
from mmcache.fuse.runs.config import spec_of
from mmcache.store.feature_store import FeatureStore
from mmcache.store.ground.errors import MmcacheError

_FALSE_ALARM = 0.01  # the chance that any figure of a table is called too good when none is
_BAYES_ERROR = 0.1  # of the Monte Carlo estimate, in points; see Oracle.bayes_accuracy
_LEAST_ROOM = 1.0  # points between chance and the best possible, below which a share of them says nothing


@dataclasses.dataclass(frozen=True)
class Possible:
    """Percent.

    Attributes:
        best: subset -> Bayes accuracy.
        chance: the accuracy of always naming the most frequent class.
    """

    best: dict[str, float]
    chance: float

    def share(self, subset: str, accuracy: float) -> float | None:
        """How much of the way from chance to the best possible was made, in percent; None where there is no way."""
        room = self.best[subset] - self.chance
        return 100.0 * (accuracy - self.chance) / room if room >= _LEAST_ROOM else None

    def exceeded(self, subset: str, accuracy: float, n: int, among: int = 1) -> bool:
        """Whether an accuracy on n segments is above the best possible by more than chance gives.

        Args:
            among: how many accuracies are looked at: the largest of many is higher by chance (Bonferroni).
        """
        best = self.best[subset]
        error = (best * (100.0 - best) / n + _BAYES_ERROR**2) ** 0.5
        return accuracy > best + stats.norm.isf(_FALSE_ALARM / among) * error

    def rate_curve(self, modality: str, rates: list[str]) -> dict[str, float]:
        """The best possible when so many percent of the segments lack a modality: a mean of two."""
        full = max(self.best, key=lambda name: name.count("+"))
        without = self.best["+".join(name for name in full.split("+") if name != modality)]
        return {rate: self.best[full] + float(rate) / 100 * (without - self.best[full]) for rate in rates}

    def drop_curve(self, drops: list[str]) -> dict[str, float]:
        """The best possible when each modality is missing with so many percent chance (see protocols.drops)."""
        total = max(name.count("+") for name in self.best) + 1
        single = float(np.mean([value for name, value in self.best.items() if "+" not in name]))
        out = {}
        for drop in drops:
            p = float(drop) / 100
            sizes = {name: name.count("+") + 1 for name in self.best}
            kept = sum((1 - p) ** size * p ** (total - size) * self.best[name] for name, size in sizes.items())
            out[drop] = kept + p**total * single
        return out


def possible(run: FoundRun) -> Possible | None:
    """What was possible on a run's data; None where that is not known, or its store is not here."""
    if run.saved.get("dataset") != NAME:
        return None
    store = _store(str(run.saved.get("store")), run.options.get("protocol"))
    if store is None:
        return None
    try:
        best = bayes_accuracy(store, spec_of(run.saved))
    except (MmcacheError, ValueError, KeyError):  # the store is another one by now
        return None
    if best is None or not set(run.result["subsets"]) <= set(best):
        return None
    (task,) = store.tasks
    return Possible({subset: by_task[task] for subset, by_task in best.items()}, _chance(store))


def _chance(store: FeatureStore) -> float:
    """By the making of the data, not by the labels drawn: the most frequent class of a sample is so by luck too."""
    skew = float(store.segments["skew"].iloc[0])
    prior: Mapping[str, list[float]] = {
        factor: [1 - skew, skew] if factor in ("p", "q") else [1 / count] * count for factor, count in FACTORS.items()
    }
    values = np.array(list(itertools.product(*(range(count) for count in FACTORS.values()))))
    odds = np.prod([[prior[f][v] for v in values[:, i]] for i, f in enumerate(FACTORS)], axis=0)
    return float(100.0 * np.bincount(class_of(values), odds).max())


def tokens_digest(run: FoundRun) -> str:
    """Of how the tokens a run read were made, where its store is still here; else ''."""
    store = _store(str(run.saved.get("store")), None)
    if store is None:
        return ""
    made = {}
    for name, shape in sorted(run.modalities.items()):
        if (name, shape[0]) in store.arrays:
            made[name] = store.tokens[f"{name}/{shape[0]}"].attributes
    return hashlib.sha256(json.dumps(made, sort_keys=True, default=str).encode()).hexdigest()


@functools.lru_cache(maxsize=64)
def _store(path: str, protocol: str | None) -> FeatureStore | None:
    """A store on this machine's disks; a report never goes to the network for one."""
    if "://" in path or not Path(path).is_dir():
        return None
    try:
        return FeatureStore.open(path, protocol=protocol)
    except (MmcacheError, OSError):
        return None
