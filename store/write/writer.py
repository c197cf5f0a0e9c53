"""Add token arrays to a store, and turn an encoder's output into what an array stores.

Order of writes, so that a kill at any moment loses one shard's work and nothing else:
a shard's tokens, then what stands beside them, then what went wrong in it, and last its presence (see
shard_commit.py). A shard whose presence says TO_DO is simply done again, and gives the same bytes.
"""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmcache.store.format import layout
from mmcache.store.format.fingerprint import Fingerprint
from mmcache.store.format.kaverage import k_average
from mmcache.store.format.layout import Presence
from mmcache.store.format.quantise import dequantise, quantise, relative_error
from mmcache.store.format.shard_file import shard_path
from mmcache.store.format.shards import ShardGrid, rows_per_shard
from mmcache.store.format.small_array import read_small_array
from mmcache.store.format.token_set import QUANTISED, check_writable, read_token_set
from mmcache.store.ground.errors import StoreError, StoreMismatchError, UnstorableTokens
from mmcache.store.segments.segment_table import read_segments
from mmcache.store.write.shard_commit import ShardCommit


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
) -> "TokenWriter":
    """Make the arrays for one modality and encoder, or open them when they exist with the same fingerprint.

    Args:
        tokens, width: T and D of the array.
        dtype: float16, float32, or int8 with a scale a token.
        shard_bytes: about how large a shard file gets; kept as it was when the array exists.

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
            f"{path} was made for segments of {made}; these have {here}. Use another store with --store PATH."
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
    """Lay the tokens' zarr.json last: where it stands, everything beside it stands too."""
    n_rows, views, tokens, _ = shape
    name = f"{modality}/{fingerprint.encoder}"
    for kind in ("tokens", "present", *layout.BESIDE, "scale"):  # what may be left of an array removed by hand
        shutil.rmtree(root / kind / name, ignore_errors=True)
    quantised = dtype == "int8"
    kinds = ["tokens", "present", *(["length"] if variable_length else []), *(["scale", "error"] if quantised else [])]
    for kind in kinds:
        layout.ensure_group(root, kind)
        layout.ensure_group(root, f"{kind}/{modality}")
    for kind in set(kinds) & set(layout.BESIDE):
        spec = layout.BESIDE[kind]
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


@dataclasses.dataclass(frozen=True)
class Stored:
    """One segment as its array stores it.

    Attributes:
        chunks: kind (tokens, scale) -> (V, T, ...) of the stored dtype.
        beside: kind (length, error) -> (V,).
    """

    chunks: dict[str, NDArray]
    beside: dict[str, NDArray]


class TokenWriter:
    """Commits the shards of one existing token array. Picklable: workers make their own from (root, names)."""

    def __init__(self, root: Path, modality: str, encoder: str) -> None:
        self.root, self.modality, self.encoder = root, modality, encoder
        self.name = f"{modality}/{encoder}"
        self.path = root / "tokens" / modality / encoder
        arrays = read_token_set(root, modality, encoder)
        check_writable(arrays)
        array = arrays["tokens"]
        segments, views, tokens, width = array.shape
        self.shape = (segments, views, tokens, width)
        self.dtype = array.dtype
        self.grid = ShardGrid(segments, array.grid[0], views)
        self.fingerprint = Fingerprint.from_attributes(array.attributes)
        self.beside = [kind for kind in layout.BESIDE if kind in arrays]
        self.sharded = ["tokens", *(["scale"] if self.dtype == np.int8 else [])]

    @property
    def has_lengths(self) -> bool:
        return "length" in self.beside

    def presence(self) -> NDArray[np.uint8]:
        """(N,) Presence values, as committed so far. Raises StoreError when they cannot be read."""
        return read_small_array(self.root / "present" / self.name, "present")

    def shard_path(self, kind: str, shard: int) -> Path:
        """The shard file of `tokens` or `scale`."""
        return shard_path(self.root / kind / self.name, shard)

    def shard(self, shard: int) -> ShardCommit:
        """Begin one shard; what was cached of it before is kept unless it is put again."""
        return ShardCommit(self, shard)

    def store_form(self, tokens: NDArray[np.floating], lengths: NDArray[np.integer] | None = None) -> Stored:
        """k-average, convert and quantise one segment's tokens.

        Args:
            tokens: (V, n, D) of any float dtype. n is T; or more, where the array keeps k = T of them; or fewer,
                where lengths vary.
            lengths: (V,) true token counts, where lengths vary.

        Raises:
            UnstorableTokens: NaN or infinity, or values the stored dtype cannot hold.
            ValueError: another shape, or lengths where none vary.
        """
        _, views, length, width = self.shape
        if tokens.ndim != 3 or (tokens.shape[0], tokens.shape[2]) != (views, width) or tokens.dtype.kind != "f":
            raise ValueError(
                f"tokens are {tokens.dtype} {tokens.shape}; {self.name} takes floats ({views}, n, {width})"
            )
        if (lengths is not None) != self.has_lengths:
            raise ValueError(f"{self.name} {'needs' if self.has_lengths else 'takes no'} lengths")
        if tokens.shape[1] > length and self.fingerprint.k == length:
            tokens, shorter = k_average(tokens, length, lengths)
            lengths = None if lengths is None else shorter
        if lengths is not None and tokens.shape[1] < length:
            tokens = np.pad(tokens, ((0, 0), (0, length - tokens.shape[1]), (0, 0)))
        if tokens.shape[1] != length:
            raise ValueError(f"tokens have shape {tokens.shape}; {self.name} takes {(views, length, width)}")
        if not np.isfinite(tokens).all():
            raise UnstorableTokens("NaN or infinity among the tokens")
        beside = {} if lengths is None else {"length": np.asarray(lengths)}
        if self.dtype == np.int8:
            if np.abs(tokens).max(initial=0) > np.finfo(np.float16).max:
                raise UnstorableTokens("values that float16, as which int8 is read back, cannot hold")
            values, scale = quantise(tokens)
            beside["error"] = relative_error(tokens, dequantise(values, scale, "float32"))
            return Stored({"tokens": values, "scale": scale}, beside)
        with np.errstate(over="ignore"):  # an overflow becomes infinity, which the check finds
            values = np.ascontiguousarray(tokens, self.dtype)
        if not np.isfinite(values).all():
            raise UnstorableTokens(f"values that {self.dtype} cannot hold")
        return Stored({"tokens": values}, beside)
