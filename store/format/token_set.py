"""A token set: the tokens of one modality and encoder with their presence, lengths, scales and rounding errors."""

from collections.abc import Mapping
from pathlib import Path

from mmcache.store.format.array_metadata import ArrayMetadata, read_array
from mmcache.store.format.fingerprint import Fingerprint
from mmcache.store.format.layout import QUANTISATION, SIDE_ARRAYS
from mmcache.store.format.location import is_remote, unreachable
from mmcache.store.format.shard_file import CRC_BYTES, EMPTY, read_index, shard_path
from mmcache.store.ground.errors import StoreError
from mmcache.store.ground.text import excerpt

QUANTISED = "token = int8 * scale"  # the only scheme


def read_token_set(root: Path, modality: str, encoder: str, n_rows: int | None = None) -> dict[str, ArrayMetadata]:
    """The metadata of a token set, kind -> array: tokens, presence and, if they exist, length, scale and error.

    Args:
        n_rows: number of segments in the store; None = as in the tokens.

    Raises:
        StoreError: an array is missing or damaged, or the arrays contradict each other.
    """
    path = root / "tokens" / modality / encoder
    tokens = read_array(path, "tokens")
    _check_attributes(tokens, encoder)
    n, views, length, _ = tokens.shape
    if n_rows is not None and n != n_rows:
        raise StoreError(f"{path} has {n} rows, the store {n_rows} segments; the store is damaged there")
    found = {"tokens": tokens}
    for kind in _kinds(root, modality, encoder, tokens):
        found[kind] = read_array(root / kind / modality / encoder, kind)
    shapes = {"present": (n,), "scale": (n, views, length, 1), **dict.fromkeys(SIDE_ARRAYS, (n, views))}
    for kind, array in found.items():
        if kind != "tokens" and array.shape != shapes[kind]:
            raise StoreError(
                f"{array.path} has the shape {array.shape}; with tokens of {tokens.shape} it must be {shapes[kind]}; "
                "the store is damaged there"
            )
    if not is_remote(root):
        for array in found.values():
            _check_files(array)
    return found


def check_writable(arrays: Mapping[str, ArrayMetadata]) -> None:
    """Raise StoreError when an array of a token set has a layout that mmcache reads but does not write."""
    tokens = arrays["tokens"]
    for kind, array in arrays.items():
        ours = array.is_direct if kind in ("tokens", "scale") else array.is_plain and array.grid[1:] == array.shape[1:]
        if not ours or array.grid[0] != tokens.grid[0]:
            raise StoreError(
                f"{array.path} is laid out by another program (compressed, unsharded, or in chunks of other sizes); "
                "mmcache reads it, but does not add to it. Write to another store with --store PATH."
            )


def _check_attributes(tokens: ArrayMetadata, encoder: str) -> None:
    """Check fingerprint and quantisation. Tokens of other programs may lack a fingerprint; they are read only."""
    if "fingerprint" in tokens.attributes:
        try:
            fingerprint = Fingerprint.from_attributes(tokens.attributes)
        except StoreError as error:
            raise StoreError(f"{tokens.path}: {error}") from error
        if fingerprint.encoder != encoder:
            raise StoreError(f"{tokens.path}: its fingerprint names the encoder {excerpt(fingerprint.encoder)}")
    quantised = tokens.attributes.get(QUANTISATION)
    if (tokens.dtype == "int8") != (quantised is not None):
        what = "int8 tokens without" if quantised is None else f"{tokens.dtype} tokens with"
        raise StoreError(f"{tokens.path} has {what} the attribute '{QUANTISATION}', which int8 tokens alone have")
    if quantised is not None and (not isinstance(quantised, dict) or quantised.get("scheme") != QUANTISED):
        raise StoreError(f"{tokens.path} is quantised by a scheme other than '{QUANTISED}': {excerpt(quantised)}")


def _kinds(root: Path, modality: str, encoder: str, tokens: ArrayMetadata) -> list[str]:
    """The kinds of array that a token set has or must have. A folder without its zarr.json counts too."""
    kinds = ["present", *(["scale"] if tokens.dtype == "int8" else [])]
    for kind in SIDE_ARRAYS:
        path = root / kind / modality / encoder
        try:
            there = (path / "zarr.json").exists() if is_remote(root) else path.exists()
        except Exception as error:  # of a network: file systems raise many kinds here
            raise unreachable(path, error) from error
        if there:
            kinds.append(kind)
    return kinds


def _check_files(array: ArrayMetadata) -> None:
    """Raise StoreError when the files of an array on a disk contradict its metadata.

    One file name is checked, and the sizes in the first undamaged shard index. Else a reader would allocate memory for
    chunks of the declared size, and would treat chunks under other names as absent.
    """
    name = next(array.files(), None)
    if name is not None and not array.has_file(name):
        raise StoreError(
            f"{array.path} has the file {excerpt(name)}, which is no chunk of the declared shape {array.shape}, "
            f"{array.grid} in a file; its zarr.json is damaged"
        )
    if not array.is_direct:
        return
    slots, expected = array.grid[0] * array.shape[1], array.chunk_bytes + CRC_BYTES
    for shard in range(-(-array.shape[0] // array.grid[0])):
        try:
            index = read_index(shard_path(array.path, shard), slots)
        except (StoreError, OSError):
            continue  # reading this shard's rows reports the damage
        if index is None:
            continue
        sizes = index[index[:, 1] != EMPTY, 1]
        if len(sizes) and (sizes != expected).all():
            raise StoreError(
                f"{array.path} says chunks of {expected} bytes, but those in its files have {sizes[0]}; "
                "its zarr.json is damaged"
            )
        return
