"""Sensors that fail for a part of a segment: window-level missingness (methods 1.8: MacJEPA).

A segment's tokens are cut into windows of equal length, and those of one modality are left out of a share of them,
nested: the windows missing at 25 % are among those missing at 50 %. What is left moves up, so the model needs no mask
of single tokens: it sees a shorter segment, and at 100 % none. MacJEPA has a learned vector for what is absent of a
window; here that is so of whole modalities only.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmcache.fuse.evaluation.curves import RATES
from mmcache.fuse.evaluation.inputs import complete_inputs
from mmcache.fuse.evaluation.noise import right_or_wrong
from mmcache.fuse.network.model import Model
from mmcache.store.feature_store import FeatureStore
from mmcache.store.ground.errors import ConfigError
from mmcache.store.load.order import id_keys, keyed_uniform
from mmcache.store.load.streams import Stream

_NOT_IN_TIME = ("ast_",)  # tokens of spectrogram patches: a window of them is a band of frequencies


def not_in_time(encoder: str) -> bool:
    """Whether an encoder's tokens come in another order than that of time."""
    return encoder.startswith(_NOT_IN_TIME)


def leave_out(
    tokens: torch.Tensor, lengths: torch.Tensor, ranks: torch.Tensor, missing: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens (B, T, D) and lengths (B,) without the windows whose rank is below `missing`.

    Args:
        ranks: (B, W), a permutation of 0..W-1 in each row.
    """
    count = ranks.shape[1]
    place = torch.arange(tokens.shape[1], device=tokens.device).expand(len(tokens), -1)
    window = (place * count // lengths.clamp_min(1)[:, None]).clamp_max(count - 1)
    kept = (place < lengths[:, None]) & (ranks.gather(1, window) >= missing)
    order = (~kept).int().argsort(dim=1, stable=True)
    moved = tokens.gather(1, order[:, :, None].expand_as(tokens))
    return moved, kept.sum(dim=1)


@torch.inference_mode()
def window_curves(
    model: Model,
    store: FeatureStore,
    rows: NDArray[np.int64],
    k: int,
    windows: int,
    device: str = "cpu",
    seed: int = 0,
) -> dict[str, Any]:
    """Accuracy of complete segments when one modality lacks r percent of its windows.

    Returns:
        modality -> task -> rate -> percent; a modality whose tokens are not in time order says so instead.

    Raises:
        ConfigError: fewer than 2 windows, or the model has learned positions, which say where a token was.
    """
    if windows < 2:
        raise ConfigError(f"--windows {windows}: at least 2 are needed for a part of them to be missing")
    if model.positions is not None:
        raise ConfigError("this run has learned positions for its tokens, so windows of them cannot be left out")
    inputs = complete_inputs(model, store, rows, k, device)
    out: dict[str, Any] = {}
    hits: dict[tuple[str, str, int], list[NDArray[np.int8]]] = {}
    several = len(inputs.stored) > 1
    names = []
    for name in inputs.stored:
        encoder = model.spec.modalities[name][0]
        if not_in_time(encoder):
            out[name] = f"tokens of {encoder} are not in the order of time"
        else:
            names.append(name)
    ids = store.segments["id"].to_numpy()
    for batch in inputs.batches():
        keys = id_keys(ids[batch.rows])
        draws = np.stack([keyed_uniform(keys, seed, Stream.TEST_WINDOWS, w) for w in range(windows)], axis=1)
        ranks = torch.from_numpy(draws.argsort(axis=1).argsort(axis=1)).to(batch.present.device)
        for name in names:
            for rate in RATES if several else RATES[:-1]:
                missing = round(rate * windows / 100)
                moved, left = leave_out(batch.tokens[name], batch.lengths[name], ranks, missing)
                present = batch.present.clone()
                present[:, inputs.names.index(name)] &= left > 0
                lengths = {**batch.lengths, name: left.to(batch.lengths[name].dtype)}
                logits = model({**batch.tokens, name: moved}, present, lengths=lengths)
                for task, right in right_or_wrong(logits, batch.labels).items():
                    hits.setdefault((name, task, rate), []).append(right)
    for (name, task, rate), parts in hits.items():
        right = np.concatenate(parts)
        out.setdefault(name, {}).setdefault(task, {})[str(rate)] = float(100.0 * (right[right >= 0] == 1).mean())
    return out
