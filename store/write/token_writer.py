"""A token array as a writer needs it: shape, grid of shards, committed presence, and the conversion of tokens."""

import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmcache.store.format import layout
from mmcache.store.format.fingerprint import Fingerprint
from mmcache.store.format.kaverage import k_average
from mmcache.store.format.quantise import dequantise, quantise, relative_error
from mmcache.store.format.shard_file import shard_path
from mmcache.store.format.shards import ShardGrid
from mmcache.store.format.small_array import read_small_array
from mmcache.store.format.token_set import check_writable, read_token_set
from mmcache.store.ground.errors import UnstorableTokens


@dataclasses.dataclass(frozen=True)
class Stored:
    """One segment in the form that is stored.

    Attributes:
        chunks: kind (tokens, scale) -> (V, T, ...) of the stored dtype.
        side_values: kind (length, error) -> (V,).
    """

    chunks: dict[str, NDArray]
    side_values: dict[str, NDArray]


class TokenWriter:
    """An existing token array that ShardCommit writes to. Workers create their own from (root, modality, encoder)."""

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
        self.side_arrays = [kind for kind in layout.SIDE_ARRAYS if kind in arrays]
        self.sharded = ["tokens", *(["scale"] if self.dtype == np.int8 else [])]

    @property
    def has_lengths(self) -> bool:
        return "length" in self.side_arrays

    def presence(self) -> NDArray[np.uint8]:
        """(N,) Presence values committed so far. Raises StoreError when they cannot be read."""
        return read_small_array(self.root / "present" / self.name, "present")

    def shard_path(self, kind: str, shard: int) -> Path:
        """The shard file of `tokens` or `scale`."""
        return shard_path(self.root / kind / self.name, shard)

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
                f"tokens are {tokens.dtype} {tokens.shape}; {self.name} takes floats of shape ({views}, n, {width})"
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
        side_values = {} if lengths is None else {"length": np.asarray(lengths)}
        if self.dtype == np.int8:
            if np.abs(tokens).max(initial=0) > np.finfo(np.float16).max:
                raise UnstorableTokens("values too large for float16, in which int8 tokens are read back")
            values, scale = quantise(tokens)
            side_values["error"] = relative_error(tokens, dequantise(values, scale, "float32"))
            return Stored({"tokens": values, "scale": scale}, side_values)
        with np.errstate(over="ignore"):  # an overflow becomes infinity, which the check finds
            values = np.ascontiguousarray(tokens, self.dtype)
        if not np.isfinite(values).all():
            raise UnstorableTokens(f"values that {self.dtype} cannot hold")
        return Stored({"tokens": values}, side_values)
