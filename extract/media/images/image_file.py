"""Read one image from a file or from bytes; its header is checked before memory is allocated for its pixels.

Images are returned as a viewer shows them, turned by their EXIF data. Images without one right form in 8 bits are
refused by name: grey of 16 or 32 bits (whose white is unknown), colours of print, transparent parts, animations.
"""

import io
import math
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import (
    BmpImagePlugin,
    Image,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from mmcache.extract.media.base.limits import check_image_size
from mmcache.extract.media.base.requests import MediaError
from mmcache.store.files.user_file import open_regular
from mmcache.store.ground.errors import ConfigError
from mmcache.store.ground.text import excerpt, printable

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
# No other format of Pillow is tried on a file, whatever its name.
_FORMATS = [
    str(kind.format)
    for kind in (
        JpegImagePlugin.JpegImageFile,
        PngImagePlugin.PngImageFile,
        BmpImagePlugin.BmpImageFile,
        WebPImagePlugin.WebPImageFile,
        TiffImagePlugin.TiffImageFile,
    )
]
_DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")  # modes with more than 8 bits a value
_COLOUR_NOISE = 24  # grey images that were saved as coloured JPEG differ by less than this between their channels

Range = tuple[float, float]


def parse_range(text: str) -> Range | None:
    """The values that become black and white, from LOW..HIGH; None for ''. Raises ConfigError for anything else."""
    if not text:
        return None
    try:
        low, high = (float(part) for part in text.split(".."))
    except ValueError:
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ConfigError(f"ir_range={text}: expected LOW..HIGH, values of the images such as 7000..9000")
    return low, high


def read_image(source: Path | bytes, name: str) -> Image.Image:
    """The image as stored but upright, in a mode of Pillow: 1, L, RGB, or one of 16 or 32 bits.

    Args:
        source: a file, or the bytes of one.
        name: what messages call it.

    Raises:
        MediaError: it is no regular file, is damaged, is too large or too narrow (limits.py), or is of a kind
            that has no one right form as pixels.
    """
    try:
        with _opened(source) as file, Image.open(file, formats=_FORMATS) as image:
            _check_header(image, name)
            image.load()
            ImageOps.exif_transpose(image, in_place=True)  # which copies only what it turns
            return _flat(image, name)
    except MediaError:
        raise
    except UnidentifiedImageError:
        reason = f"its content is none of {', '.join(_FORMATS)}"
    except OSError as error:
        reason = error.strerror or str(error)
    except Exception as error:  # every format of Pillow fails in its own ways, warnings as errors among them
        reason = str(error) or type(error).__name__
    raise MediaError(f"{name} is no readable image: {printable(' '.join(reason.split())[:200])}")


def colour(image: Image.Image, name: str) -> NDArray[np.uint8]:
    """(H, W, 3). Raises MediaError for an image of more than 8 bits."""
    _check_bits(image, name)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def grey(image: Image.Image, name: str) -> NDArray[np.uint8]:
    """(H, W). Raises MediaError for an image of more than 8 bits, or in colours: their mean would mean nothing."""
    _check_bits(image, name)
    if image.mode == "RGB":
        values = np.asarray(image).astype(np.int16)
        if (np.ptp(values, axis=2) > _COLOUR_NOISE).any():
            raise MediaError(f"{name} is a coloured image; optical flow is read from two grey ones, of u and of v")
    return np.asarray(image.convert("L"))


def ranged(image: Image.Image, name: str, bounds: Range) -> NDArray[np.uint8]:
    """(H, W, 3) of an image of more than 8 bits: the values between the bounds become 0 to 255, others are clipped.

    Raises:
        MediaError: it has 8 bits, so the bounds do not apply to it.
    """
    if image.mode not in _DEEP:
        raise MediaError(f"{name} is an image of 8 bits; the range of values given is for images of 16 bits")
    low, high = bounds
    share = np.clip((np.asarray(image).astype(np.float64) - low) / (high - low), 0, 1)
    if np.isnan(share).any():
        raise MediaError(f"{name} holds values that are no numbers")
    return np.repeat(np.rint(255 * share).astype(np.uint8)[..., None], 3, axis=2)


def scaled(pixels: NDArray[np.uint8], short_side: int, resample: Image.Resampling) -> NDArray[np.uint8]:
    """(H, W) or (H, W, 3) with the shorter side scaled to `short_side`."""
    height, width = pixels.shape[:2]
    scale = short_side / min(height, width)
    size = (round(width * scale), round(height * scale))
    return pixels if size == (width, height) else np.asarray(Image.fromarray(pixels).resize(size, resample))


def check_one_size(images: dict[int, NDArray[np.uint8]], names: dict[int, str], what: str) -> None:
    """Raise MediaError where images that are to be one video differ in size once scaled. Names by number."""
    numbers = sorted(images)
    first = images[numbers[0]].shape[1::-1]
    for number in numbers:
        size = images[number].shape[1::-1]
        if size != first:
            raise MediaError(
                f"the images of {what} are not of one shape: scaled, {names[numbers[0]]} is {first[0]} x {first[1]} "
                f"and {names[number]} is {size[0]} x {size[1]}; put images of one shape into a folder"
            )


def _opened(source: Path | bytes) -> BinaryIO:
    return io.BytesIO(source) if isinstance(source, bytes) else open_regular(source)


def _check_header(image: Image.Image, name: str) -> None:
    check_image_size(*image.size, name)
    count = getattr(image, "n_frames", 1)
    if count > 1 and image.format != "MPO":  # the JPEG of phones, with further images behind the first
        raise MediaError(f"{name} holds {count} images (an animation or several pages); one image a file is read")


def _flat(image: Image.Image, name: str) -> Image.Image:
    """The image without palette and transparency."""
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    elif image.mode in ("L", "RGB") and "transparency" in image.info:
        image = image.convert("RGBA")  # one colour of it counts as transparent
    if image.mode in ("LA", "RGBA", "PA"):
        alpha = image.convert("RGBA").getchannel("A")
        least = alpha.getextrema()[0]
        if least != 255:
            raise MediaError(f"{name} is transparent in parts, where it has no colour; save it without transparency")
        return image.convert("L" if image.mode == "LA" else "RGB")
    if image.mode == "YCbCr":
        return image.convert("RGB")
    if image.mode not in ("1", "L", "RGB", *_DEEP):
        raise MediaError(f"{name} is in the colours {excerpt(image.mode)}, not RGB or grey; convert it to RGB")
    return image


def _check_bits(image: Image.Image, name: str) -> None:
    if image.mode in _DEEP:
        values = np.asarray(image)
        raise MediaError(
            f"{name} is grey of {values.dtype.itemsize * 8} bits, with values from {values.min():g} to "
            f"{values.max():g}: which of them is white is not said in the file. Convert all recordings to 8 bits with "
            "one scale; in a manifest, infrared is scaled with --set ir_range=LOW..HIGH, and distances go under depth"
        )
