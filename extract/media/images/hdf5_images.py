"""Images of a segment packed into HDF5 as the bytes of their files.

An entry is a data set whose n-th element is image n, or a group with an entry an image named by its number. It holds
one segment (or a video that is one), so there is no clock: its images are spread over the segment evenly.
"""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmcache.extract.media.base.hdf5_members import find_member, member, named, open_hdf5
from mmcache.extract.media.base.requests import MediaError, NoMedia, Reading, VideoRequest
from mmcache.extract.media.images.frames import flow_image
from mmcache.extract.media.images.image_file import check_one_size, colour, read_image, scaled
from mmcache.store.files.hdf5_reading import as_bytes, check_row_size, names_in, read_rows, read_whole


def read_hdf5_frames(path: Path, entry: str, request: VideoRequest) -> Reading:
    """`request.frames` images of the segment `entry`.

    Returns:
        Reading of (frames, H, W, 3) uint8 RGB, the shorter side scaled to `request.short_side`.

    Raises:
        NoMedia: the file has no such entry.
        MediaError: it cannot be read, or an image is damaged or of a form that image_file refuses.
    """

    def image(packed: "_Packed", n: int) -> NDArray[np.uint8]:
        name = packed.named(n)
        return scaled(colour(read_image(packed.image(n), name), name), request.short_side, Image.Resampling.BILINEAR)

    return _read(path, entry, request, 1, image)


def read_hdf5_flow(path: Path, entry: str, request: VideoRequest, gain: float) -> Reading:
    """Optical flow as images, from an entry that holds u and v in turn: u0, v0, u1, v1, ...

    Args:
        gain: what displacements are multiplied by, so that releases of other strides and bounds mean the same.

    Returns:
        Reading of (frames, H, W, 3) uint8: u, v, and 128 (no motion), for networks that take three channels.
    """

    def image(packed: "_Packed", n: int) -> NDArray[np.uint8]:
        axes = [(packed.image(number), packed.named(number)) for number in (2 * n, 2 * n + 1)]
        return flow_image(axes, request, gain)

    return _read(path, entry, request, 2, image)


def _read(
    path: Path,
    entry: str,
    request: VideoRequest,
    per_moment: int,
    image: "Callable[[_Packed, int], NDArray[np.uint8]]",
) -> Reading:
    """Open the entry, choose evenly spread moments of it, and stack what `image` makes of each."""
    with open_hdf5(path) as file:
        node = find_member(file, entry, named(entry, path))
        if node is None:
            raise NoMedia(f"{path.name} has no images of {entry}")
        packed = _Packed(node, f"{path.name}: {entry}")
        moments, rest = divmod(packed.count, per_moment)
        if rest:
            raise MediaError(f"{packed.name} holds {packed.count} images, which are no pairs of u and v")
        if not moments:
            raise MediaError(f"{packed.name} holds no images")
        low, high = request.part
        shares = low + (np.arange(request.frames) + 0.5) / request.frames * (high - low)
        chosen = (shares * moments).astype(int).tolist()
        found = {n: image(packed, n) for n in sorted(set(chosen))}
        check_one_size(found, {n: f"image {n * per_moment}" for n in found}, packed.name)
        return Reading(np.stack([found[n] for n in chosen]))


class _Packed:
    """The images of one entry, counted from 0, whichever form it has."""

    def __init__(self, node: h5py.Group | h5py.Dataset, name: str) -> None:
        self.name = name
        self._node = node
        if isinstance(node, h5py.Group):
            # Numbers count up, from 0 or 1, and are written with or without leading zeros.
            with member(name):
                names = names_in(node)
            self._names = sorted((each for each in names if each.isdecimal() and len(each) < 19), key=int)
            self.count = len(self._names)
            if len(set(map(int, self._names))) < self.count:
                raise MediaError(f"{name} holds two images of one number, with and without leading zeros")
            return
        if node.ndim != 1:
            raise MediaError(f"{name} is no list of images: its shape is {node.shape}")
        with member(name):
            check_row_size(node)
        self.count = len(node)

    def named(self, number: int) -> str:
        return f"{self.name}, image {number}"

    def image(self, number: int) -> bytes:
        """The bytes of an image's file. Raises MediaError for other content."""
        where = self.named(number)
        with member(where):
            if isinstance(self._node, h5py.Dataset):
                value = read_rows(self._node, slice(number, number + 1))[0]
            else:
                image = find_member(self._node, self._names[number], where)
                if not isinstance(image, h5py.Dataset):
                    raise MediaError(f"{where} is no data set")
                value = read_whole(image)
        with member(f"{where} is no readable image: it"):
            data = as_bytes(value)
        if not data:
            raise MediaError(f"{where} is no readable image: it has no bytes")
        return data
