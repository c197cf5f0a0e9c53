"""Pictures of a segment packed into HDF5 as the bytes of their files.

An entry is a data set whose n-th element is picture n, or a group with an entry a picture named by its number. It holds
one segment (or a video that is one), so there is no clock: its pictures are spread over the segment evenly.
"""

import io
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmcache.extract.media.base import MediaError, NoMedia, Reading, VideoRequest


def read_hdf5_frames(path: Path, entry: str, request: VideoRequest) -> Reading:
    """`request.frames` pictures of the segment `entry`.

    Returns:
        Reading of (frames, H, W, 3) uint8 RGB, the shorter side scaled to `request.short_side`.

    Raises:
        NoMedia: the file has no such entry.
        MediaError: it cannot be read, or a picture is damaged.
    """

    def pictures(packed: "_Packed", chosen: list[int]) -> dict[int, NDArray[np.uint8]]:
        return {n: packed.picture(n, request.short_side, "RGB") for n in sorted(set(chosen))}

    return _read(path, entry, request, 1, pictures)


def read_hdf5_flow(path: Path, entry: str, request: VideoRequest, gain: float) -> Reading:
    """Optical flow as pictures, from an entry that holds u and v in turn: u0, v0, u1, v1, ...

    Args:
        gain: what displacements are multiplied by, so that releases of other strides and bounds mean the same.

    Returns:
        Reading of (frames, H, W, 3) uint8: u, v, and 128 (no motion), for networks that take three channels.
    """

    def pictures(packed: "_Packed", chosen: list[int]) -> dict[int, NDArray[np.uint8]]:
        found = {}
        for n in sorted(set(chosen)):
            u, v = (packed.picture(2 * n + axis, request.short_side, "L") for axis in (0, 1))
            if u.shape != v.shape:
                raise MediaError(f"{packed.name}: u {n} is {u.shape[::-1]} pixels, v is {v.shape[::-1]}")
            found[n] = np.stack([_scaled(u, gain), _scaled(v, gain), np.full_like(u, 128)], axis=-1)
        return found

    return _read(path, entry, request, 2, pictures)


def _read(path: Path, entry: str, request: VideoRequest, per_moment: int, pictures: Any) -> Reading:
    """Open the entry, choose evenly spread moments of it, and stack what `pictures` makes of them."""
    try:
        with h5py.File(path, "r") as file:
            if entry not in file:
                raise NoMedia(f"{path.name} has no pictures of {entry}")
            packed = _Packed(file[entry], f"{path.name}: {entry}")
            moments, rest = divmod(packed.count, per_moment)
            if rest:
                raise MediaError(f"{packed.name} holds {packed.count} pictures, which are no pairs of u and v")
            if not moments:
                raise MediaError(f"{packed.name} holds no pictures")
            low, high = request.part
            shares = low + (np.arange(request.frames) + 0.5) / request.frames * (high - low)
            chosen = (shares * moments).astype(int).tolist()
            found = pictures(packed, chosen)
            shapes = {picture.shape for picture in found.values()}
            if len(shapes) > 1:
                raise MediaError(f"{packed.name} holds pictures of different sizes: {sorted(shapes)}")
            return Reading(np.stack([found[n] for n in chosen]))
    except OSError as error:
        raise MediaError(f"{path.name} cannot be read as HDF5: {' '.join(str(error).split())[:200]}") from error


class _Packed:
    """The pictures of one entry, counted from 0, whichever form it has."""

    def __init__(self, node: Any, name: str) -> None:
        self.name = name
        self._node = node
        # Numbers count up, from 0 or 1, and are written with or without leading zeros.
        group = isinstance(node, h5py.Group)
        self._names = sorted((each for each in node if each.isdecimal()), key=int) if group else None
        if not group and node.ndim != 1:
            raise MediaError(f"{name} is no list of pictures: its shape is {node.shape}")
        self.count = len(self._names) if self._names is not None else len(node)

    def picture(self, number: int, short_side: int, mode: str) -> NDArray[np.uint8]:
        """(H, W, 3) or (H, W), the shorter side scaled."""
        try:
            data = self._node[number] if self._names is None else self._node[self._names[number]][()]
            if not isinstance(data, bytes):
                data = data.tobytes() if isinstance(data, np.void) else np.asarray(data, np.uint8).tobytes()
            with Image.open(io.BytesIO(data)) as image:
                converted = image.convert(mode)
        # PIL's own kinds, and numpy's for an element that is no bytes
        except (OSError, ValueError, TypeError, SyntaxError, Image.DecompressionBombError) as error:
            reason = " ".join(str(error).split())[:200]
            raise MediaError(f"{self.name}, picture {number} is no readable picture: {reason}") from error
        scale = short_side / min(converted.size)
        size = (round(converted.width * scale), round(converted.height * scale))
        return np.asarray(converted if size == converted.size else converted.resize(size, Image.Resampling.BILINEAR))


def _scaled(displacement: NDArray[np.uint8], gain: float) -> NDArray[np.uint8]:
    if gain == 1.0:
        return displacement
    return np.clip(np.rint((displacement.astype(np.float32) - 128) * gain + 128), 0, 255).astype(np.uint8)
