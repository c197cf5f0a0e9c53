"""Derive a smaller token set from cached tokens, by k-Average or quantisation, without running an encoder."""

import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmcache.store.feature_store import FeatureStore
from mmcache.store.files.atomic import remove_leftovers
from mmcache.store.format import layout
from mmcache.store.format.fingerprint import Fingerprint
from mmcache.store.format.kaverage import k_average
from mmcache.store.format.reports import finish_reports
from mmcache.store.ground.errors import ConfigError
from mmcache.store.ground.lock import writer_lock
from mmcache.store.read.token_array import TokenArray
from mmcache.store.write.token_source import Progress, TokenSource, check_dtype, no_progress, write_source


def reduced_fingerprint(source: Fingerprint, k: int | None, dtype: str | None = None) -> Fingerprint:
    """The fingerprint of `source` averaged to k or stored as dtype; its name and settings say that it is derived."""
    suffix = "".join([f"-k{k}" if k else "", f"-{dtype}" if dtype else ""])
    return dataclasses.replace(
        source,
        encoder=f"{source.encoder}{suffix}",
        preprocessing={**source.preprocessing, "reduced_from": {"encoder": source.encoder, "k": source.k}},
        k=k or source.k,
    )


def reduce_store(
    root: Path,
    k: int | None = None,
    modalities: list[str] | None = None,
    shard_bytes: int = layout.DEFAULT_SHARD_BYTES,
    progress: Progress = no_progress,
    dtype: str | None = None,
) -> list[str]:
    """Add a token set of at most k tokens, or of another dtype, for each token set of the store (or of `modalities`).

    After a kill at any moment, the same call continues and ends with the same bytes. Sets that are small enough or
    derived themselves are skipped.

    Returns:
        The names of the derived sets, modality/encoder-k<K>.

    Raises:
        ConfigError: k < 1, an unknown dtype, neither of them, or nothing to reduce.
        StoreError: another process writes the store.
    """
    if k is not None and k < 1:
        raise ConfigError(f"--k {k}: at least 1 token must be left")
    if k is None and dtype is None:
        raise ConfigError("nothing to reduce by: give --k, --dtype or both")
    check_dtype(dtype, "")
    store = FeatureStore.open(root)
    wanted = [store.resolve(name) for name in modalities] if modalities else store.arrays
    arrays = [store.tokens[f"{modality}/{encoder}"] for modality, encoder in wanted]
    sources = [array for array in arrays if _is_reducible(array, k, dtype)]
    if not sources:
        there = ", ".join(f"{array.name} has {array.shape[2]} of {array.dtype}" for array in arrays)
        goal = " or ".join(
            [*([f"longer than {k}"] if k else []), *([f"of another dtype than {dtype}"] if dtype else [])]
        )
        raise ConfigError(f"no token set is {goal}: {there or 'the store has none'}")
    with writer_lock(root):
        remove_leftovers(root)
        made = [write_source(root, _source(store, array, k, dtype), shard_bytes, progress) for array in sources]
        finish_reports(root)
    return made


def _is_reducible(array: TokenArray, k: int | None, dtype: str | None) -> bool:
    smaller = (k is not None and array.shape[2] > k) or (dtype is not None and array.dtype != dtype)
    return smaller and "reduced_from" not in array.fingerprint.preprocessing


def _source(store: FeatureStore, array: TokenArray, k: int | None, dtype: str | None) -> TokenSource:
    lengths = store.lengths[array.name]
    n_views, tokens, width = array.shape[1:]
    kept = min(k or tokens, tokens)

    def read(row: int) -> tuple[NDArray[np.floating], NDArray[np.integer] | None]:
        views = np.concatenate([array.read_float(np.array([row]), view, check=True) for view in range(n_views)])
        short, new_lengths = k_average(views, kept, None if lengths is None else lengths[row])
        return short, None if lengths is None else new_lengths

    failures = [
        line for line in store.failures if (line["modality"], line["encoder"]) == (array.modality, array.encoder)
    ]
    return TokenSource(
        modality=array.modality,
        fingerprint=reduced_fingerprint(array.fingerprint, kept if kept < tokens else None, dtype),
        shape=(n_views, kept, width),
        dtype=dtype or array.dtype.name,
        variable_length=lengths is not None,
        status=store.present[array.name],
        read=read,
        ids=store.segments["id"].tolist(),
        reasons={line["id"]: line["reason"] for line in failures},
        retry_failed=True,  # the source may have been repaired
    )
