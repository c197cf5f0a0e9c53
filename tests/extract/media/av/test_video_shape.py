"""Frames come out as a player shows them: turned, mirrored and stretched as the file says."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from mmcache.extract.media.av.video import read_video
from mmcache.extract.media.base.requests import VideoRequest

NumbersOf = Callable[[Any], list[int]]
# What a viewer is to see: four corners of different colours, wider than high.
COLOURS = np.array([[[230, 20, 20], [20, 230, 20]], [[20, 20, 230], [230, 230, 230]]], np.uint8)


def seen(width: int, height: int) -> NDArray[np.uint8]:
    return COLOURS.repeat(height // 2, axis=0).repeat(width // 2, axis=1)


def write(
    path: Path,
    stored: NDArray[np.uint8],
    *,
    form: str = "mp4",
    turn: dict[str, Any] | None = None,
    matrix: list[int] | None = None,
    pixel: Fraction | None = None,
    interlaced: bool = False,
) -> Path:
    with av.open(str(path), "w", format=form) as container:
        options = {"crf": "8", "x264-params": "tff=1" if interlaced else "bframes=2"}
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.height, stream.width = stored.shape[:2]
        stream.pix_fmt, stream.gop_size = "yuv444p", 10
        if pixel is not None:
            stream.codec_context.sample_aspect_ratio = pixel
        if turn is not None:
            stream.set_display_rotation(**turn)
        if matrix is not None:
            stream.set_display_matrix(matrix)
        for number in range(30):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(stored), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def corners(pictures: NDArray[Any]) -> list[list[int]]:
    """Which of the four colours is in each corner of the last frame, read like a text."""
    _, height, width, _ = pictures.shape
    spots = pictures[-1][[height // 4, 3 * height // 4]][:, [width // 4, 3 * width // 4]].astype(int)
    distance = np.abs(spots[:, :, None] - COLOURS.reshape(4, 3).astype(int)).sum(axis=3)
    assert (distance.min(axis=2) < 60).all()
    return distance.argmin(axis=2).tolist()


def in_camera(picture: NDArray[np.uint8], degrees: int, hflip: bool, vflip: bool) -> NDArray[np.uint8]:
    """What has to be stored for `frame` to be seen after a turn counter-clockwise and then mirroring."""
    picture = picture[:, ::-1] if hflip else picture
    picture = picture[::-1] if vflip else picture
    return np.rot90(picture, -degrees // 90)


@pytest.mark.parametrize("form", ["mp4", "mov", "matroska"])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize(("hflip", "vflip"), [(False, False), (True, False), (False, True)])
def test_pictures_stored_lying_or_mirrored_are_seen_upright(
    form: str, degrees: int, hflip: bool, vflip: bool, tmp_path: Path
) -> None:
    stored = in_camera(seen(96, 64), degrees, hflip, vflip)
    turn = {"degrees": degrees, "hflip": hflip, "vflip": vflip}
    path = write(tmp_path / "v", stored, form=form, turn=turn)
    for span in ((0.0, 1.2), (0.7, 0.9)):  # from the beginning, and from a later key frame
        pictures = read_video(path, *span, VideoRequest(3, 32)).array
        assert pictures.shape == (3, 32, 48, 3)
        assert corners(pictures) == [[0, 1], [2, 3]]


def test_a_matrix_a_little_off_a_quarter_turn_is_that_quarter_turn(tmp_path: Path) -> None:
    one = 1 << 16
    tilted = [one // 10, -one, 0, one, one // 10, 0, 0, 0, 1 << 30]
    path = write(tmp_path / "v.mp4", in_camera(seen(96, 64), 90, False, False), matrix=tilted)
    pictures = read_video(path, 0.0, 1.0, VideoRequest(2, 32)).array
    assert (pictures.shape, corners(pictures)) == ((2, 32, 48, 3), [[0, 1], [2, 3]])


@pytest.mark.parametrize(
    ("pixel", "expected"),
    [
        (Fraction(1), (40, 40)),
        (Fraction(2), (40, 80)),
        (Fraction(16, 15), (40, 43)),
        (Fraction(1, 2), (80, 40)),
        (Fraction(50), (40, 40)),  # no frame was ever like that
    ],
)
def test_wide_pixels_become_square(pixel: Fraction, expected: tuple[int, int], tmp_path: Path) -> None:
    path = write(tmp_path / "v.mp4", seen(64, 64), pixel=pixel)
    pictures = read_video(path, 0.0, 1.0, VideoRequest(2, 40)).array
    assert pictures.shape == (2, *expected, 3)
    assert corners(pictures) == [[0, 1], [2, 3]]


def test_wide_pixels_of_a_picture_that_lies_are_wide_before_it_is_turned(tmp_path: Path) -> None:
    stored = in_camera(seen(64, 64), 90, False, False)
    path = write(tmp_path / "v.mp4", stored, turn={"degrees": 90}, pixel=Fraction(2))
    pictures = read_video(path, 0.0, 1.0, VideoRequest(2, 40)).array
    assert (pictures.shape, corners(pictures)) == ((2, 80, 40, 3), [[0, 1], [2, 3]])


def test_interlaced_video_is_read_with_both_fields_in_a_picture(tmp_path: Path) -> None:
    """Lines of two moments, in turn: nothing is dropped, and nothing blended."""
    lines = np.where((np.arange(64) % 2 == 0)[:, None, None], 220, 30)
    path = write(tmp_path / "v.mp4", np.broadcast_to(lines, (64, 64, 3)).astype(np.uint8), interlaced=True)
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).interlaced_frame
    picture = read_video(path, 0.0, 1.0, VideoRequest(1, 64)).array[0]
    assert picture[::2].min() > 180
    assert picture[1::2].max() < 70
