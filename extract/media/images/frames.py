"""Images of a segment from a folder of numbered image files, and optical flow from two of them.

Numbers in file names are a clock: the image on screen at second t is number `first + rate * t`, rounded down.
numbering.py finds the number in a name; files are sorted by it, never by name (frame_10 comes after frame_2).
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmcache.extract.media.base.requests import TOLERANCE_S, MediaError, Reading, VideoRequest
from mmcache.extract.media.images.file_numbering import numbered_files
from mmcache.extract.media.images.image_file import Range, check_one_size, colour, grey, ranged, read_image, scaled

_SMOOTH = Image.Resampling.BILINEAR


def read_frames(
    folder: Path,
    start_s: float,
    stop_s: float,
    request: VideoRequest,
    rate: float | None,
    first: float,
    names: str = "",
    beside: tuple[tuple[Path, str], ...] = (),
    bounds: Range | None = None,
) -> Reading:
    """`request.frames` images of [start_s, stop_s).

    Args:
        rate: numbers a second; None where the folder is the segment: its images are then spread over it evenly.
        first: the number at second 0.
        names, beside: as in numbered_files.
        bounds: the values of 16-bit images that become black and white; without it 16-bit images are refused.

    Returns:
        Reading of (frames, H, W, 3) uint8 RGB, the shorter side scaled to `request.short_side`.

    Raises:
        MediaError: there is no such folder, it has no images, their order is unknown, they end before the segment
            does, sizes differ, or one is damaged or of a form that image_file refuses.
    """
    files = numbered_files(folder, names, beside, counted=rate is not None)
    chosen, note = choose_images(files, folder, start_s, stop_s, request, rate, first)
    images = {}
    for number in sorted(set(chosen)):
        name = files[number].name
        image = read_image(files[number], name)
        pixels = colour(image, name) if bounds is None else ranged(image, name, bounds)
        images[number] = scaled(pixels, request.short_side, _SMOOTH)
    check_one_size(images, {number: files[number].name for number in images}, folder.name)
    return Reading(np.stack([images[number] for number in chosen]), note)


def read_flow(
    folders: tuple[Path, ...],
    start_s: float,
    stop_s: float,
    request: VideoRequest,
    rate: float | None,
    first: float,
    gain: float,
) -> Reading:
    """Optical flow as images: horizontal and vertical displacement, 128 = none, from the folders of u and v.

    Args:
        gain: what displacements are multiplied by, so that releases of other strides and bounds mean the same.

    Returns:
        Reading of (frames, H, W, 3) uint8: u, v, and 128, for networks that take three channels.
    """
    u_files, v_files = (numbered_files(folder, counted=True) for folder in folders)
    both = {number: u_files[number] for number in u_files if number in v_files}
    chosen, note = choose_images(both, folders[0].parent, start_s, stop_s, request, rate, first)
    images = {}
    for number in sorted(set(chosen)):
        images[number] = flow_image(
            [(files[number], files[number].name) for files in (u_files, v_files)], request, gain
        )
    check_one_size(images, {number: u_files[number].name for number in images}, folders[0].parent.name)
    return Reading(np.stack([images[number] for number in chosen]), note)


def flow_image(axes: Sequence[tuple[Path | bytes, str]], request: VideoRequest, gain: float) -> NDArray[np.uint8]:
    """(H, W, 3): u, v, and 128, from the grey images of u and of v and their names in messages."""
    u, v = (scaled(grey(read_image(source, name), name), request.short_side, _SMOOTH) for source, name in axes)
    if u.shape != v.shape:
        raise MediaError(f"{axes[0][1]}: u is {u.shape[1]} x {u.shape[0]} pixels, v is {v.shape[1]} x {v.shape[0]}")
    return np.stack([_amplified(u, gain), _amplified(v, gain), np.full_like(u, 128)], axis=-1)


def _amplified(displacement: NDArray[np.uint8], gain: float) -> NDArray[np.uint8]:
    if gain == 1.0:
        return displacement
    return np.clip(np.rint((displacement.astype(np.float32) - 128) * gain + 128), 0, 255).astype(np.uint8)


def choose_images(
    files: dict[int, Path],
    folder: Path,
    start_s: float,
    stop_s: float,
    request: VideoRequest,
    rate: float | None,
    first: float,
) -> tuple[list[int], str | None]:
    """The numbers of the images on screen at evenly spread moments, and a note where some had to be replaced."""
    if not files:
        raise MediaError(f"{folder.name} holds no numbered images of this kind")
    there = np.array(sorted(files))
    shares = (np.arange(request.frames) + 0.5) / request.frames
    if rate is None:
        low, high = request.part_of(0.0, 1.0)
        shares = low + shares * (high - low)
        return there[(shares * len(there)).astype(int)].tolist(), None
    lowest, highest = int(there[0]), int(there[-1])
    step = int(np.median(np.diff(there))) if len(there) > 1 else 1
    if (step - 1) / rate > TOLERANCE_S:
        raise MediaError(
            f"the numbers in {folder.name} go up by {step:,}, such as from {files[lowest].name} to "
            f"{files[int(there[1])].name}: at {rate:g} numbers a second that would be {step / rate:.4g} s from image "
            "to image. The rate says how many numbers make a second; give that, or number the images 1, 2, 3, ..."
        )
    end_s = (highest + 1 - first) / rate
    if math.isinf(stop_s):
        stop_s = end_s
    if start_s >= end_s:
        raise MediaError(f"segment starts at {start_s:.2f} s, after the images of {folder.name} end ({end_s:.2f} s)")
    note = None
    if stop_s > end_s + TOLERANCE_S:
        note = f"segment ends {stop_s - end_s:.2f} s past the last image; clamped"
    stop_s = min(stop_s, end_s)
    start_s, stop_s = request.part_of(start_s, stop_s)
    moments = start_s + shares * (stop_s - start_s)
    wanted = np.clip(np.floor(first + moments * rate + 1e-6).astype(int), lowest, highest)
    # An image that is missing is replaced by the last one before it, as a screen would show it.
    shown = there[np.searchsorted(there, wanted, side="right") - 1]
    gap_s = float((wanted - shown).max()) / rate
    if gap_s > TOLERANCE_S:
        number = int(wanted[np.argmax(wanted - shown)])
        raise MediaError(f"{folder.name} lacks image {number} and those {gap_s:.2f} s before it")
    lacking = int((wanted != shown).sum())
    if lacking:
        note = "; ".join(filter(None, [note, f"{lacking} missing images replaced by the ones before them"]))
    return shown.tolist(), note
