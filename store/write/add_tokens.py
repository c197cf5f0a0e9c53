"""Add the arrays of one modality and encoder to a store."""

import shutil
from pathlib import Path

import numpy as np

from mmcache.store.format import layout
from mmcache.store.format.fingerprint import Fingerprint
from mmcache.store.format.layout import Presence
from mmcache.store.format.shards import rows_per_shard
from mmcache.store.format.token_set import QUANTISED
from mmcache.store.ground.errors import StoreError, StoreMismatchError
from mmcache.store.segments.segment_table import read_segments
from mmcache.store.write.token_writer import TokenWriter


def add_tokens(
    root: Path,
    modality: str,
    fingerprint: Fingerprint,
    tokens: int,
    width: int,
    *,
    views: int = 1,
    dtype: str = "float16",
    shard_bytes: int = layout.DEFAULT_SHARD_BYTES,
    variable_length: bool = False,
) -> TokenWriter:
    """Create the arrays of one modality and encoder, or open the existing ones if their fingerprint is the same.

    Args:
        tokens, width: T and D of the array.
        dtype: float16, float32, or int8 with a scale a token.
        shard_bytes: approximate size of a shard file; ignored if the array exists.

    Raises:
        FingerprintError: the array holds tokens made differently.
        StoreMismatchError: its shape or dtype differs.
        StoreError: a name cannot be a folder.
    """
    layout.check_name("modality", modality)
    layout.check_name("encoder", fingerprint.encoder)
    if dtype not in layout.TOKEN_DTYPES:
        raise StoreError(f"tokens are stored as {' or '.join(layout.TOKEN_DTYPES)}, not {dtype}")
    encoder = fingerprint.encoder
    n_rows = len(read_segments(root / layout.SEGMENTS))
    shape = (n_rows, views, tokens, width)
    path = root / "tokens" / modality / encoder
    if not (path / "zarr.json").exists():
        rows = rows_per_shard(views * layout.token_bytes(tokens, width, dtype), n_rows, shard_bytes)
        _make_arrays(root, modality, fingerprint, shape, dtype, rows, variable_length)
    writer = TokenWriter(root, modality, encoder)
    fingerprint.check_same(writer.fingerprint, path)
    if variable_length != writer.has_lengths:
        made, here = ("varying lengths", "one length") if writer.has_lengths else ("one length", "varying lengths")
        raise StoreMismatchError(
            f"{path} was made for tokens with {made}; these have {here}. Use another store with --store PATH."
        )
    if (writer.shape, writer.dtype) != (shape, np.dtype(dtype)):
        raise StoreMismatchError(
            f"{path} holds {writer.dtype} tokens of shape {writer.shape}; this run makes {dtype} {shape}. "
            "Use the same settings, or another store with --store PATH."
        )
    return writer


def _make_arrays(
    root: Path,
    modality: str,
    fingerprint: Fingerprint,
    shape: tuple[int, int, int, int],
    dtype: str,
    rows: int,
    variable_length: bool,
) -> None:
    """Write the metadata of a token set, that of tokens last: if it exists, the others exist too."""
    n_rows, views, tokens, _ = shape
    name = f"{modality}/{fingerprint.encoder}"
    for kind in ("tokens", "present", *layout.SIDE_ARRAYS, "scale"):  # leftovers of an array that was removed by hand
        shutil.rmtree(root / kind / name, ignore_errors=True)
    quantised = dtype == "int8"
    kinds = ["tokens", "present", *(["length"] if variable_length else []), *(["scale", "error"] if quantised else [])]
    for kind in kinds:
        layout.ensure_group(root, kind)
        layout.ensure_group(root, f"{kind}/{modality}")
    for kind in set(kinds) & set(layout.SIDE_ARRAYS):
        spec = layout.SIDE_ARRAYS[kind]
        layout.write_plain_array(root, f"{kind}/{name}", (n_rows, views), spec.dtype, (rows, views), spec.fill_value)
    if quantised:
        layout.write_sharded_array(root, f"scale/{name}", (n_rows, views, tokens, 1), "float32", rows)
    layout.write_plain_array(root, f"present/{name}", (n_rows,), "uint8", (rows,), fill_value=Presence.TO_DO)
    encoders = layout.listed_encoders(root / "tokens" / modality)
    if fingerprint.encoder not in encoders:
        layout.write_group(root, f"tokens/{modality}", {"encoders": [*encoders, fingerprint.encoder]})
    attributes = fingerprint.to_attributes()
    if quantised:
        attributes[layout.QUANTISATION] = {"scheme": QUANTISED, "scale": f"scale/{name}"}
    layout.write_sharded_array(root, f"tokens/{name}", shape, dtype, rows, attributes)
