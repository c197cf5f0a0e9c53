"""Depth of a segment as images, from a folder of numbered 16-bit PNG files in millimetres, 0 = no data.

Sizes differ between folders (masked depth of NTU RGB+D is cut to where people are) and are read from the files.
Images are scaled without mixing neighbours: between a person and 'no data' there is no distance that could be
right. Values of 8 bits are taken for grey that others made of depth.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmcache.extract.media.base.requests import MediaError, NoMedia, Reading, VideoRequest
from mmcache.extract.media.images.file_numbering import numbered_files
from mmcache.extract.media.images.frames import choose_images
from mmcache.extract.media.images.image_file import check_one_size, read_image, scaled

# What grey 1 and grey 255 stand for, one scale for every data set, so that grey means the same distance in all of
# them: the nearest and the farthest that a Kinect v2 (NTU RGB+D) reports. A Kinect v1 (NW-UCLA, UWA3D) reports from
# 800 mm on. A step of grey is 30 mm. Grey 0 is 'no data' alone.
NEAR_MM, FAR_MM = 500, 8000
# The corners of matplotlib's colour map 'jet': (share of the scale, intensity) of red, green and blue.
_JET = (
    ((0, 0), (0.35, 0), (0.66, 1), (0.89, 1), (1, 0.5)),
    ((0, 0), (0.125, 0), (0.375, 1), (0.64, 1), (0.91, 0), (1, 0)),
    ((0, 0.5), (0.11, 1), (0.34, 1), (0.65, 0), (1, 0)),
)


def read_depth(
    folder: Path,
    start_s: float,
    stop_s: float,
    request: VideoRequest,
    colouring: str,
    rate: float | None,
    first: float,
    names: str = "",
    beside: tuple[tuple[Path, str], ...] = (),
) -> Reading:
    """`request.frames` images of [start_s, stop_s).

    Args:
        colouring: `grey`: the distance between NEAR_MM and FAR_MM, brighter is farther. `jet`: as in ActionMAE (Woo et
            al., AAAI 2023) each image by itself from its smallest to its largest value, 'no data' included.
        rate, first, names, beside: as in frames.read_frames.

    Returns:
        Reading of (frames, H, W, 3) uint8, the shorter side scaled to `request.short_side`.

    Raises:
        NoMedia: all values are 0 (no data).
        MediaError: there is no such folder, it has no images, one is damaged or is no depth, or sizes differ in it.
    """
    files = numbered_files(folder, names, beside, counted=rate is not None)
    chosen, note = choose_images(files, folder, start_s, stop_s, request, rate, first)
    images, holding = {}, False
    for number in sorted(set(chosen)):
        values = _values(files[number], colouring)
        holding |= bool(values.any())
        images[number] = _image(values, colouring, request.short_side)
    if not holding:
        raise NoMedia(f"{folder.name} holds no distance in this segment: every value is 0, which means no data")
    check_one_size(images, {number: files[number].name for number in images}, folder.name)
    return Reading(np.stack([images[number] for number in chosen]), note)


def _values(path: Path, colouring: str) -> NDArray[Any]:
    """(H, W) distances or grey, or (H, W, 3) colours."""
    values = np.asarray(read_image(path, path.name))
    if values.ndim == 3 and (values == values[..., :1]).all():
        values = values[..., 0]  # grey, stored as colours
    if values.ndim == 3 and colouring != "jet":
        raise MediaError(
            f"{path.name} is a coloured image, not depth in grey; coloured ones are taken as they are "
            "with --set depth=jet"
        )
    if values.dtype.kind not in "ui" or int(values.min()) < 0:
        raise MediaError(
            f"{path.name} holds {values.dtype} values from {values.min()} to {values.max()}; depth is of 16 bits, in "
            "millimetres, or grey of 8"
        )
    return values


def _image(values: NDArray[Any], colouring: str, short_side: int) -> NDArray[np.uint8]:
    """(H, W, 3), the shorter side scaled; coloured values are taken as they are."""
    coloured = values.ndim == 3
    image = values.astype(np.uint8) if coloured else _jet(values) if colouring == "jet" else _grey(values)
    return scaled(image, short_side, Image.Resampling.NEAREST)


def _grey(values: NDArray[np.integer]) -> NDArray[np.uint8]:
    """(H, W) millimetres, or grey already -> (H, W, 3)."""
    if values.dtype == np.uint8:
        grey = values
    else:
        share = np.clip((values.astype(np.float32) - NEAR_MM) / (FAR_MM - NEAR_MM), 0, 1)
        grey = np.where(values == 0, 0, np.rint(1 + 254 * share)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _jet(values: NDArray[np.integer]) -> NDArray[np.uint8]:
    """(H, W) of any scale -> (H, W, 3); an image of one value is all of the lowest colour."""
    low, high = int(values.min()), int(values.max())
    share = (values.astype(np.float64) - low) / max(1, high - low)
    return _jet_table()[np.minimum((share * 256).astype(int), 255)]


def _jet_table() -> NDArray[np.uint8]:
    """(256, 3)"""
    at = np.linspace(0, 1, 256)
    channels = [np.interp(at, *np.array(corners, np.float64).T) for corners in _JET]
    return (np.stack(channels, axis=1) * 255).astype(np.uint8)
