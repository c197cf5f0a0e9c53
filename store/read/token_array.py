"""The cached tokens of one modality from one encoder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmcache.store.format.array_metadata import ArrayMetadata, read_array
from mmcache.store.format.fingerprint import Fingerprint
from mmcache.store.format.layout import QUANTISATION, read_attributes
from mmcache.store.format.quantise import dequantise
from mmcache.store.read.sharded_array import ShardedArray


class TokenArray(ShardedArray):
    """Tokens of one modality from one encoder.

    Attributes:
        modality, encoder: its path is tokens/<modality>/<encoder>.
        scale: (N, V, T, 1) float32 beside quantised tokens, else None.
    """

    def __init__(
        self, root: Path, modality: str, encoder: str, metadata: Mapping[str, ArrayMetadata] | None = None
    ) -> None:
        """Open the tokens at `root`; `metadata` is the result of read_token_set, None = read it here."""
        self.modality = modality
        self.encoder = encoder
        self.scale: ShardedArray | None = None
        name = f"{modality}/{encoder}"
        super().__init__(metadata["tokens"] if metadata else read_array(root / "tokens" / name, "tokens"))
        if QUANTISATION in self.metadata.attributes:
            self.scale = ShardedArray(metadata["scale"] if metadata else read_array(root / "scale" / name, "scale"))

    def __repr__(self) -> str:
        return f"TokenArray({self.name}, {self.shape}, {self.dtype})"

    @property
    def float_dtype(self) -> np.dtype:
        """The dtype of `read_float`: the stored one, or float16 for int8 tokens."""
        return np.dtype("float16") if self.scale is not None else self.dtype

    @property
    def fingerprint(self) -> Fingerprint:
        return Fingerprint.from_attributes(self.attributes)

    @property
    def attributes(self) -> dict[str, Any]:
        return read_attributes(self.path)

    def read_float(
        self,
        rows: NDArray[np.integer],
        view: int | NDArray[np.integer] = 0,
        out: NDArray[Any] | None = None,
        *,
        check: bool = False,
        expected: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.floating]:
        """As `read`, with int8 tokens dequantised to float16: (n, T, D) of `float_dtype`."""
        if self.scale is None:
            return self.read(rows, view, out, check=check, expected=expected)
        values = self.read(rows, view, check=check, expected=expected)
        scale = self.scale.read(rows, view, check=check, expected=expected)
        tokens = dequantise(values, scale, "float16")
        if out is None:
            return tokens
        out[...] = tokens
        return out

    def close(self) -> None:
        super().close()
        if self.scale is not None:
            self.scale.close()
