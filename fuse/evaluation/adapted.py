"""A model that adapts while it is tested: its missing-rate curves from actual streams (methods 3.6).

What it predicts for a segment depends on those before it, so nothing can be derived by indexing: every rate is a stream
of its own. The segments that lack the modality are those of curves.missing_rate_curve, so that the two are compared
on equal terms.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmcache.fuse.evaluation.curves import RATES, missing_ranks
from mmcache.fuse.evaluation.inputs import Inputs
from mmcache.fuse.evaluation.noise import right_or_wrong
from mmcache.fuse.network.model import Model
from mmcache.fuse.parts.test_time import TEST_TIME, Adapter, Seen
from mmcache.store.feature_store import FeatureStore
from mmcache.store.ground.errors import ConfigError, unknown_name

_BATCH = 32  # segments a step


def adapted_rates(
    model: Model,
    store: FeatureStore,
    rows: NDArray[np.int64],
    k: int,
    step: str,
    config: Any,
    device: str = "cpu",
    seed: int = 0,
    batch_size: int = _BATCH,
) -> dict[str, Any]:
    """modality -> task -> rate -> percent, adapting anew for each modality and rate.

    Args:
        rows: of the store, labelled; segments that lack something are left out.
        step: of TEST_TIME.
        config: the options of the step.
        batch_size: segments a step; MiDl's stream has 1.

    Raises:
        ConfigError: the step is unknown, or the run has a single modality or no LayerNorm to adapt.
    """
    if step not in TEST_TIME:
        raise ConfigError(unknown_name("test-time step", step, TEST_TIME))
    ids = store.segments["id"].to_numpy()
    whole = Inputs(model, store, rows, k, device, None)
    occurring, complete = np.asarray(whole.present.any(axis=0)), whole.complete
    complete = complete[np.argsort(ids[complete], kind="stable")]  # the order of the subsets table
    if len(whole.stored) < 2:
        raise ConfigError(
            "a run with one modality cannot adapt at test time: its predictions have nothing to agree with"
        )
    n = len(complete)
    rank = missing_ranks(n, seed)
    stream = np.random.default_rng((seed, n, 1)).permutation(n)
    inputs = Inputs(model, store, complete[stream], k, device, None)
    fresh = Adapter(model, TEST_TIME[step].loss, config)
    if config.adapt_first:
        train = store.rows("train", whole.stored)
        fresh.adapt(_Stream(Inputs(model, store, train, k, device, None), batch_size))
    out: dict[str, Any] = {}
    for name in [name for name, there in zip(inputs.names, occurring.tolist(), strict=True) if there]:
        for rate in RATES:
            lacking = torch.from_numpy((rank < round(rate * n / 100))[stream])
            batches = _Stream(inputs, batch_size, inputs.names.index(name), lacking)
            right: dict[str, list[NDArray[np.int8]]] = {}
            for logits, labels in zip(fresh.copy().predict(batches), batches.labels(store), strict=True):
                for task, hits in right_or_wrong({t: v.cpu() for t, v in logits.items()}, labels).items():
                    right.setdefault(task, []).append(hits)
            for task, parts in right.items():
                hits = np.concatenate(parts)
                curve = out.setdefault(name, {}).setdefault(task, {})
                curve[str(rate)] = float(100.0 * (hits[hits >= 0] == 1).mean())
    return out


@dataclasses.dataclass(frozen=True)
class _Stream:
    """The segments in the order given, those of `lacking` without the modality in `column`; again as often as asked."""

    inputs: Inputs
    size: int
    column: int = 0
    lacking: torch.Tensor | None = None  # (n,) bool; None = nothing is taken

    def __iter__(self) -> Iterator[Seen]:
        start = 0
        for batch in self.inputs.batches(self.size):
            present = batch.present.clone()
            if self.lacking is not None:
                present[:, self.column] &= ~self.lacking[start : start + len(present)].to(present.device)
            start += len(present)
            yield Seen(batch.tokens, present, batch.lengths)

    def labels(self, store: FeatureStore) -> Iterator[dict[str, torch.Tensor]]:
        """The labels of each batch."""
        rows = self.inputs.rows
        for start in range(0, len(rows), self.size):
            here = rows[start : start + self.size]
            yield {task: torch.from_numpy(store.labels(task)[here]) for task in store.tasks}
