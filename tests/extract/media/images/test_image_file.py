"""Every form of image comes out with its right values, or is refused with a reason before memory is taken."""

import io
import os
import resource
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from mmcache.extract.media import read_media
from mmcache.extract.media.base.limits import MAX_ASPECT, MAX_IMAGE_PIXELS
from mmcache.extract.media.base.requests import MediaError, VideoRequest
from mmcache.extract.media.base.source import Source
from mmcache.extract.media.images.image_file import colour, parse_range, read_image
from mmcache.store.ground.errors import ConfigError

CORNERS = np.array([[[230, 20, 20], [20, 230, 20]], [[20, 20, 230], [230, 230, 230]]], np.uint8)
SEEN = CORNERS.repeat(16, axis=0).repeat(24, axis=1)  # 32 high, 48 wide


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def pixels(data: bytes) -> NDArray[np.uint8]:
    return colour(read_image(data, "p"), "p")


def header(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says how large it is."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(bytes(64)))]
    chunks = (
        struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in [*parts, (b"IEND", b"")]
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_upright_whatever_the_camera_wrote(form: str, orientation: int) -> None:
    stored = {
        1: SEEN,
        2: SEEN[:, ::-1],
        3: SEEN[::-1, ::-1],
        4: SEEN[::-1],
        5: SEEN.transpose(1, 0, 2),
        6: np.rot90(SEEN, 1),
        7: np.rot90(SEEN, 2).transpose(1, 0, 2),
        8: np.rot90(SEEN, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, Any] = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.get(form, {})
    found = pixels(encoded(Image.fromarray(np.ascontiguousarray(stored)), form, exif=exif, **options))
    assert found.shape == SEEN.shape
    assert (np.abs(found[4:-4:23, 4:-4:39].astype(int) - SEEN[4:-4:23, 4:-4:39]) < 12).all()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (encoded(Image.new("1", (4, 4), 1)), 255),
        (encoded(Image.new("L", (4, 4), 77)), 77),
        (encoded(Image.new("RGB", (4, 4), (77, 77, 77))), 77),
        (encoded(Image.new("RGBA", (4, 4), (77, 77, 77, 255))), 77),
        (encoded(Image.new("LA", (4, 4), (77, 255))), 77),
        (encoded(Image.new("RGB", (4, 4), (77, 77, 77)).quantize(4)), 77),
        (encoded(Image.new("YCbCr", (4, 4), (77, 128, 128)), "TIFF"), 77),
    ],
    ids=["1 bit", "grey", "rgb", "opaque", "opaque grey", "palette", "YCbCr"],
)
def test_every_form_of_8_bits_keeps_its_values(data: bytes, expected: int) -> None:
    assert (pixels(data) == expected).all()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (
            encoded(Image.fromarray(np.arange(7000, 9000, 20, dtype=np.uint16).reshape(10, 10))),
            "grey of 16 bits, with ",
        ),
        (
            encoded(Image.fromarray(np.full((4, 4), 0.5, np.float32)), "TIFF"),
            r"grey of 32 bits, with values from 0\.5 to",
        ),
        (encoded(Image.fromarray(np.full((4, 4), 70000, np.int32)), "TIFF"), "grey of 32 bits, with values from 70000"),
        (encoded(Image.new("CMYK", (4, 4)), "JPEG"), "is in the colours 'CMYK', not RGB or grey"),
        (encoded(Image.new("RGBA", (4, 4), (1, 2, 3, 90))), "is transparent in parts"),
        (encoded(Image.new("L", (4, 4), 3), transparency=3), "is transparent in parts"),
        (
            encoded(
                Image.new("L", (4, 4)), "WEBP", save_all=True, append_images=[Image.new("L", (4, 4), 9)], lossless=True
            ),
            r"holds 2 images \(an animation",
        ),
        (encoded(Image.new("L", (4, 4)), save_all=True, append_images=[Image.new("L", (4, 4), 9)]), "holds 2 images"),
        (
            encoded(Image.new("L", (4, 4)), "TIFF", save_all=True, append_images=[Image.new("L", (4, 4))]),
            "holds 2 images",
        ),
        (encoded(Image.new("P", (4, 4)), "GIF"), "its content is none of JPEG, PNG, BMP, WEBP, TIFF"),
        (header(1, 30000), r"has 1 x 30000 pixels; the longer side may be at most 32 times the shorter one"),
        (header(100_000, 100_000), r"has 100000 x 100000 pixels; at most 67,108,864|exceeds limit"),
        (header(9000, 9000), r"has 9000 x 9000 pixels; at most 67,108,864 pixels are read"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_has_no_right_value_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(MediaError, match=rf"^p (is no readable image: )?.*{reason}"):
        pixels(data)


def test_the_limits_hold_before_memory_is_taken() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for width, height in ((MAX_IMAGE_PIXELS // 1000 + 1, 1000), (1, MAX_ASPECT + 1), (MAX_ASPECT * 500 + 1, 500)):
        with pytest.raises(MediaError, match=f"has {width} x {height} pixels"):
            pixels(header(width, height))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB
    assert pixels(encoded(Image.new("L", (MAX_ASPECT * 8, 8)))).shape == (8, MAX_ASPECT * 8, 3)


def write_16_bits(folder: Path, *levels: int) -> Path:
    folder.mkdir()
    for number, level in enumerate(levels):
        Image.fromarray(np.full((8, 8), level, np.uint16)).save(folder / f"{number}.png")
    return folder


@settings(max_examples=20)
@given(levels=st.lists(st.integers(0, 65535), min_size=1, max_size=6))
def test_16_bit_infrared_is_scaled_alike_in_all_pictures(
    levels: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A grey ramp 7000..9000 became white everywhere."""
    folder = write_16_bits(tmp_path_factory.mktemp("f") / "ir", *levels)
    source = Source("frames", (folder,), variant="7000..9000")
    found = np.asarray(read_media(source, 0, np.inf, VideoRequest(len(levels), 8)).array)[:, 0, 0, 0]
    assert found.tolist() == [round(255 * min(max(level - 7000, 0), 2000) / 2000 + 1e-9) for level in levels]


def test_a_range_is_for_16_bits_and_has_two_ends(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    Image.new("L", (8, 8), 9).save(tmp_path / "f" / "1.png")
    with pytest.raises(
        MediaError, match=r"1\.png is an image of 8 bits; the range of values given is for images of 16"
    ):
        read_media(Source("frames", (tmp_path / "f",), variant="0..9"), 0, np.inf, VideoRequest(1, 8))
    assert parse_range("-1.5..2e3") == (-1.5, 2000.0)
    for text in ("9..7", "1", "a..b", "1..2..3", "0..inf", "nan..1", "7-9"):
        with pytest.raises(ConfigError, match=r"expected LOW\.\.HIGH"):
            parse_range(text)


@pytest.mark.parametrize("kind", ["frames", "depth"])
def test_a_fifo_or_a_folder_as_a_picture_is_refused_at_once(kind: Any, tmp_path: Path) -> None:
    make: list[tuple[Callable[[Path], None], str]] = [(os.mkfifo, "a FIFO"), (Path.mkdir, "a folder")]
    for number, (create, named) in enumerate(make):
        folder = tmp_path / str(number)
        folder.mkdir()
        create(folder / "1.png")
        with pytest.raises(MediaError, match=rf"1\.png is no readable image: it is {named}, not a regular file"):
            read_media(Source(kind, (folder,), variant="grey" if kind == "depth" else ""), 0, 1, VideoRequest(2, 8))


def test_coloured_pictures_are_no_flow(tmp_path: Path) -> None:
    for axis in "uv":
        (tmp_path / axis).mkdir()
        Image.fromarray(SEEN).save(tmp_path / axis / "1.png")
    with pytest.raises(MediaError, match=r"1\.png is a coloured image; optical flow is read from two grey ones"):
        read_media(Source("flow", (tmp_path / "u", tmp_path / "v")), 0, np.inf, VideoRequest(1, 8))


def test_a_size_that_changes_midway_is_said_with_both_sizes(tmp_path: Path) -> None:
    for number, size in enumerate([(16, 8), (16, 8), (32, 8)]):
        Image.new("L", size).save(tmp_path / f"{number}.png")
    with pytest.raises(MediaError, match=r"not of one shape: scaled, 0\.png is 16 x 8 and 2\.png is 32 x 8"):
        read_media(Source("frames", (tmp_path,)), 0, np.inf, VideoRequest(3, 8))
