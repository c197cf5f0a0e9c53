"""Read one .npy file per segment: its header, checked against the file's size, and its tokens."""

import dataclasses
import hashlib
import json
import math
import os
from collections import Counter
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from mmcache.store.files.user_file import open_regular
from mmcache.store.ground.errors import UnstorableTokens
from mmcache.store.ground.text import excerpt

_HEADERS = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}


@dataclasses.dataclass(frozen=True)
class Scan:
    """The headers of one modality's files.

    Attributes:
        files: row -> file.
        shapes: row -> (T, D) of the files that can be used.
        reasons: id -> why its file cannot be used.
    """

    ids: list[str]
    files: dict[int, Path]
    shapes: dict[int, tuple[int, int]]
    width: int
    dtype: str
    reasons: dict[str, str]

    def digest(self) -> str:
        """SHA-256 of the ids, shapes and bytes of the files that can be used."""
        digest = hashlib.sha256()
        for row in sorted(self.shapes):
            digest.update(json.dumps([self.ids[row], self.shapes[row]]).encode())
            with open_regular(self.files[row]) as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())  # type: ignore[arg-type]
        return digest.hexdigest()


def scan(files: dict[int, Path], ids: list[str]) -> Scan:
    """Read the headers of files, row -> file."""
    shapes: dict[int, tuple[int, int]] = {}
    dtypes: set[np.dtype] = set()
    reasons: dict[str, str] = {}
    for row, file in files.items():
        try:
            shapes[row], dtype = read_header(file)
            dtypes.add(dtype)
        except UnstorableTokens as reason:
            reasons[ids[row]] = str(reason)
    widths = Counter(width for _, width in shapes.values())
    width = widths.most_common(1)[0][0] if widths else 1
    for row, shape in list(shapes.items()):
        if shape[1] != width:
            reasons[ids[row]] = f"the file has tokens of width {shape[1]}, most have {width}"
            del shapes[row]
    dtype_name = "float16" if dtypes <= {np.dtype(np.float16)} else "float32"
    return Scan(ids, files, shapes, width, dtype_name, reasons)


def read_header(path: Path) -> tuple[tuple[int, int], np.dtype]:
    """((T, D), dtype) of a file. Raises UnstorableTokens with the reason when it cannot be used."""
    try:
        with open_regular(path) as file:
            return _header(file)
    except OSError as error:
        raise UnstorableTokens(f"the file cannot be read: {error.strerror or error}") from error


def read_tokens(path: Path, shape: tuple[int, int]) -> NDArray[np.floating]:
    """(T, D) tokens of a file whose header said `shape`. Raises UnstorableTokens where it has changed or is damaged."""
    try:
        with open_regular(path) as file:
            now = _header(file)[0]
            if now != shape:
                raise UnstorableTokens(f"the file changed during the import: it had shape {shape}, now it has {now}")
            file.seek(0)
            tokens: NDArray[np.floating] = npy_format.read_array(file, allow_pickle=False)
            return tokens.reshape(shape)
    except (OSError, ValueError) as error:
        raise UnstorableTokens(f"the file cannot be read: {error}") from error


def _header(file: BinaryIO) -> tuple[tuple[int, int], np.dtype]:
    """((T, D), dtype). The array must fill the rest of the file, so that no memory is allocated for absent data."""
    try:
        read = _HEADERS.get(npy_format.read_magic(file))
        if read is None:
            raise ValueError("its format is for arrays with named fields")
        declared, _, dtype = read(file)
    except OSError:
        raise
    except Exception as error:  # a damaged header makes NumPy raise exceptions of many kinds
        reason = " ".join(str(error).split())[:200]
        raise UnstorableTokens(f"the file cannot be read: it is no .npy file, or damaged ({reason})") from error
    if dtype.kind != "f":
        raise UnstorableTokens(f"the file holds {excerpt(str(dtype)).strip(chr(39))}, not floats")
    shape = declared if len(declared) == 2 else (1, *declared)
    if len(shape) != 2 or not all(type(n) is int and n > 0 for n in shape):
        raise UnstorableTokens(f"the file has shape {excerpt(str(declared)).strip(chr(39))}; expected (T, D)")
    wanted, there = math.prod(shape) * dtype.itemsize, os.fstat(file.fileno()).st_size - file.tell()
    if there < wanted:
        raise UnstorableTokens(f"the file is cut off: shape {declared} takes {wanted:,} bytes, it has {there:,}")
    if there > wanted:
        raise UnstorableTokens(
            f"the file has {there - wanted:,} bytes after its array of shape {declared}: one file must hold one array"
        )
    return shape, dtype
