"""Derive a shorter token set: k-Average what is cached, without running an encoder again."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mmcache.store import layout
from mmcache.store.atomic import remove_leftovers
from mmcache.store.errors import ConfigError
from mmcache.store.feature_store import FeatureStore
from mmcache.store.fingerprint import Fingerprint
from mmcache.store.kaverage import k_average
from mmcache.store.layout import Presence
from mmcache.store.lock import writer_lock
from mmcache.store.writer import TokenWriter, add_tokens, finish_reports

Progress = Callable[[str, int, int], None]  # name, rows done, rows in all


def reduced_fingerprint(source: Fingerprint, k: int) -> Fingerprint:
    """The fingerprint of `source` averaged to k: named as derived, so that it is never taken for an encoder's own."""
    return dataclasses.replace(
        source,
        encoder=f"{source.encoder}-k{k}",
        preprocessing={**source.preprocessing, "reduced_from": {"encoder": source.encoder, "k": source.k}},
        k=k,
    )


def reduce_store(
    root: Path,
    k: int,
    modalities: list[str] | None = None,
    shard_bytes: int = layout.DEFAULT_SHARD_BYTES,
    progress: Progress = lambda name, done, total: None,
) -> list[str]:
    """Add a token set of at most k tokens beside each of the store's (or of `modalities`).

    Killed at any moment, the same call goes on and ends with the same bytes. Sets that are short enough already, or
    were themselves derived, are left out.

    Returns:
        The names of the derived sets, modality/encoder-k<K>.

    Raises:
        ConfigError: k < 1, or nothing is longer than k.
        StoreError: another process writes the store.
    """
    if k < 1:
        raise ConfigError(f"--k {k}: at least 1 token must be left")
    store = FeatureStore.open(root)
    wanted = [store.resolve(name) for name in modalities] if modalities else store.arrays
    sources = [
        (modality, encoder)
        for modality, encoder in wanted
        if store.tokens[f"{modality}/{encoder}"].shape[2] > k
        and "reduced_from" not in store.tokens[f"{modality}/{encoder}"].fingerprint.preprocessing
    ]
    if not sources:
        lengths = ", ".join(f"{m}/{e} has {store.tokens[f'{m}/{e}'].shape[2]}" for m, e in wanted)
        raise ConfigError(f"no token set is longer than {k}: {lengths or 'the store has none'}")
    made = []
    with writer_lock(root):
        remove_leftovers(root)
        for modality, encoder in sources:
            made.append(_reduce_tokens(store, modality, encoder, k, shard_bytes, progress))
        finish_reports(root)
    return made


def _reduce_tokens(
    store: FeatureStore, modality: str, encoder: str, k: int, shard_bytes: int, progress: Progress
) -> str:
    source = store.tokens[f"{modality}/{encoder}"]
    present, lengths = store.present[f"{modality}/{encoder}"], store.lengths[f"{modality}/{encoder}"]
    fingerprint = reduced_fingerprint(source.fingerprint, k)
    n, views, _, width = source.shape
    writer = add_tokens(
        store.path,
        modality,
        fingerprint,
        k,
        width,
        views=views,
        dtype=source.dtype.name,
        shard_bytes=shard_bytes,
        variable_length=lengths is not None,
    )
    reasons = {
        line["id"]: line["reason"]
        for line in store.failures
        if (line["modality"], line["encoder"]) == (modality, encoder)
    }
    status = writer.presence()
    # What has come to the source since the last time is done too.
    to_do = (status != present) & (present != Presence.TO_DO)
    for shard in range(writer.grid.n_shards):
        rows = writer.grid.rows(shard)
        if to_do[rows.start : rows.stop].any():
            _reduce_shard(store, writer, shard, np.flatnonzero(to_do[rows.start : rows.stop]) + rows.start, k, reasons)
        progress(f"{modality}/{fingerprint.encoder}", rows.stop, n)
    return f"{modality}/{fingerprint.encoder}"


def _reduce_shard(
    store: FeatureStore, writer: TokenWriter, shard: int, rows: np.ndarray, k: int, reasons: dict[str, str]
) -> None:
    name = f"{writer.modality}/{writer.encoder.removesuffix(f'-k{k}')}"
    source, present, lengths = store.tokens[name], store.present[name], store.lengths[name]
    commit = writer.shard(shard)
    try:
        for row in rows.tolist():
            if present[row] == Presence.CACHED:
                views = np.stack([source.read_checked(np.array([row]), view)[0] for view in range(source.shape[1])])
                short, new_lengths = k_average(views, k, None if lengths is None else lengths[row])
                commit.put(row, short, None if lengths is None else new_lengths)
            elif present[row] == Presence.FAILED:
                segment = store.segments["id"].iloc[row]
                commit.failed(row)
                commit.report(segment, Presence.FAILED, reasons.get(segment, "failed in the set this was reduced from"))
            else:
                commit.missing(row)
        commit.commit()
    except BaseException:
        commit.abort()
        raise
