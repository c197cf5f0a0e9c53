"""Pictures of a segment, by timestamp, as a player shows them.

They come out upright and with square pixels: phones store pictures lying down and say in a display matrix how to turn
or mirror them, and anamorphic video says how wide its pixels are. Interlaced video is not de-interlaced: its pictures
hold two moments, a line of each in turn.
"""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from mmcache.extract.media.base import TOLERANCE_S, MediaError, NoMedia, Reading, VideoRequest, clamp
from mmcache.extract.media.container import check_decodable, on_clock_of, open_container, origin_s, stream_end_s

_BEFORE_ALL_S = 3600.0
_WIDEST_PIXEL = 4  # what declares wider ones, or narrower, is taken to be mistaken
_SEEK_BACK_S = (0.0, 1.0, 8.0, 64.0)  # how far before a moment a seek is tried; at last from the beginning


def read_video(path: Path, start_s: float, stop_s: float, request: VideoRequest, zero_s: float = 0.0) -> Reading:
    """Decode `request.frames` pictures, evenly spread over [start_s, stop_s).

    For each of the evenly spaced moments, the picture on screen at that moment is taken (presentation
    timestamps, so variable frame rates and B-frames are right). Memory: the chosen pictures only.

    Args:
        zero_s: where second 0 lies on the file's own clock; below 0 for a clip cut out of a longer video.

    Returns:
        Reading of (frames, H, W, 3) uint8 RGB.

    Raises:
        NoMedia: the file has no video stream.
        MediaError: it cannot be opened or decoded, or it ends before the segment does.
    """
    with open_container(path) as container:
        if not container.streams.video:
            raise NoMedia(f"{path.name} has no video stream")
        stream = container.streams.video[0]
        check_decodable(stream, path, "picture")
        stream.thread_type = "SLICE"  # frame threads would decode far past what a short segment needs
        start_s, stop_s, early = on_clock_of(path, start_s, stop_s, zero_s)
        stop_s, late = clamp(start_s, stop_s, stream_end_s(container, stream), "video")
        start_s, stop_s = request.part_of(start_s, stop_s)
        moments = start_s + (np.arange(request.frames) + 0.5) * (stop_s - start_s) / request.frames
        pictures = _pictures_at(container, stream, moments, request.short_side, path.name)
        return Reading(pictures, "; ".join(filter(None, [early, late])) or None)


def _pictures_at(
    container: InputContainer, stream: VideoStream, moments: NDArray[np.float64], short_side: int, name: str
) -> NDArray[np.uint8]:
    """The pictures on screen at `moments`, which ascend."""
    pictures: list[NDArray[np.uint8]] = []
    shown: av.VideoFrame | None = None  # on screen until the next one's time
    shown_until_s = 0.0
    for frame, frame_s in _frames_from(container, stream, float(moments[0])):
        if shown is not None and moments[len(pictures)] < frame_s:
            picture = _to_array(shown, stream, short_side)
            while len(pictures) < len(moments) and moments[len(pictures)] < frame_s:
                pictures.append(picture)
            if len(pictures) == len(moments):
                break
        shown, shown_until_s = frame, frame_s + _duration_s(frame, stream)
    if shown is None:
        raise MediaError(f"{name} has no picture at {moments[0]:.2f} s: damaged or cut off there")
    if len(pictures) < len(moments):
        if moments[-1] > shown_until_s + TOLERANCE_S:
            raise MediaError(
                f"{name} is cut off: its pictures end at {shown_until_s:.2f} s, the segment needs {moments[-1]:.2f} s"
            )
        pictures.extend([_to_array(shown, stream, short_side)] * (len(moments) - len(pictures)))
    return np.stack(pictures)


def _frames_from(
    container: InputContainer, stream: VideoStream, moment_s: float
) -> Iterator[tuple[av.VideoFrame, float]]:
    """Decoded pictures with their times, the first one not later than `moment_s` if there is any such.

    A seek may land too late: before a key frame there can be pictures that need the one before it (open GOP), and
    transport streams are sought by guessing. Then it is tried again from further back.
    """
    for back_s in (*_SEEK_BACK_S, None):
        frames = _decode_from(container, stream, -_BEFORE_ALL_S if back_s is None else max(0.0, moment_s - back_s))
        first = next(frames, None)
        if first is None and back_s == 8.0 < moment_s:
            return  # nothing for so long: the file is cut off, and what lies before would be decoded in vain
        if back_s is None or (first is not None and first[1] <= moment_s):
            if first is not None:
                yield first
            yield from frames
            return


def _decode_from(
    container: InputContainer, stream: VideoStream, start_s: float
) -> Iterator[tuple[av.VideoFrame, float]]:
    time_base, origin = stream.time_base, origin_s(container)
    assert time_base is not None
    container.seek(int((Fraction(start_s) + origin) / time_base), stream=stream, backward=True)
    for frame in container.decode(stream):
        if frame.pts is not None:
            yield frame, float(frame.pts * time_base - origin)  # exact until here: moments may fall on a boundary


def _duration_s(frame: av.VideoFrame, stream: VideoStream) -> float:
    """How long a picture stays on screen; the last one of a file may be held for seconds."""
    usual = float(1 / stream.average_rate) if stream.average_rate else 0.0
    declared = float(frame.duration * stream.time_base) if frame.duration and stream.time_base else 0.0
    return max(usual, declared)


def _to_array(frame: av.VideoFrame, stream: VideoStream, short_side: int) -> NDArray[np.uint8]:
    """(H, W, 3), upright, of square pixels, the shorter side scaled."""
    shape = stream.sample_aspect_ratio or Fraction(1)  # width of a pixel by its height
    if not 1 / _WIDEST_PIXEL <= shape <= _WIDEST_PIXEL:
        shape = Fraction(1)
    wide = float(frame.width * shape)
    scale = short_side / min(wide, frame.height)
    width, height = round(wide * scale), round(frame.height * scale)
    picture = frame.reformat(width, height, format="rgb24", interpolation="BILINEAR").to_ndarray()
    return _upright(picture.astype(np.uint8, copy=False), frame)


def _upright(picture: NDArray[np.uint8], frame: av.VideoFrame) -> NDArray[np.uint8]:
    """Turned and mirrored as the display matrix says; angles between are brought to the nearest quarter turn."""
    side_data: Any = frame.side_data  # PyAV's stub knows of motion vectors alone
    if "DISPLAYMATRIX" not in side_data:
        return picture
    # Column p and row q go to column a p + c q and row b p + d q.
    a, b, _, c, d, *_ = np.frombuffer(side_data["DISPLAYMATRIX"], np.int32).tolist()
    if abs(b) > abs(a):
        picture, columns, rows = picture.transpose(1, 0, 2), c, b
    else:
        columns, rows = a, d
    return np.ascontiguousarray(picture[:: -1 if rows < 0 else 1, :: -1 if columns < 0 else 1])
