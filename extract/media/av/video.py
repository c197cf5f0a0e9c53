"""Frames of a segment, by timestamp, as a player shows them.

They come out upright and with square pixels: phones store frames lying down and say in a display matrix how to turn
or mirror them, and anamorphic video says how wide its pixels are. Interlaced video is not de-interlaced: its frames
hold two moments, a line of each in turn.
"""

import math
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from mmcache.extract.media.av.container import has_timestamps, name_of, on_clock_of, open_container, video_stream
from mmcache.extract.media.av.frame_times import frames_from
from mmcache.extract.media.av.stream_lengths import stream_end_s
from mmcache.extract.media.base.limits import check_video_size
from mmcache.extract.media.base.requests import TOLERANCE_S, MediaError, NoMedia, Reading, VideoRequest, clamp

_WIDEST_PIXEL = 4  # what declares wider ones, or narrower, is taken to be mistaken


def read_video(path: Path, start_s: float, stop_s: float, request: VideoRequest, zero_s: float = 0.0) -> Reading:
    """Decode `request.frames` frames, evenly spread over [start_s, stop_s).

    For each of the evenly spaced moments, the frame on screen at that moment is taken (presentation
    timestamps, so variable frame rates and B-frames are right). Memory: the chosen frames only.

    Args:
        zero_s: where second 0 lies on the file's own clock; below 0 for a clip cut out of a longer video.

    Returns:
        Reading of (frames, H, W, 3) uint8 RGB.

    Raises:
        NoMedia: the file has no video stream, or its first frame comes after the segment.
        MediaError: it cannot be opened or decoded, it ends before the segment does, its frames are larger than
            allowed or change their shape, or a part is asked for of a raw stream without timestamps.
    """
    with open_container(path) as container:
        stream = _video(container, path)
        if has_timestamps(container):
            return _by_time(container, stream, path, start_s, stop_s, request, zero_s)
        kind = container.format.name
    if (start_s, zero_s) != (0.0, 0.0) or math.isfinite(stop_s):
        raise MediaError(
            f"{name_of(path)} is a raw {kind} stream: its frames have no timestamps, so that a part of it by seconds "
            "cannot be found. Put it into a container with its true rate: "
            "ffmpeg -framerate RATE -i FILE -c copy FILE.mp4"
        )
    return Reading(_by_order(path, request))


def _by_time(
    container: InputContainer,
    stream: VideoStream,
    path: Path,
    start_s: float,
    stop_s: float,
    request: VideoRequest,
    zero_s: float,
) -> Reading:
    start_s, stop_s, early = on_clock_of(path, start_s, stop_s, zero_s)
    stop_s, late = clamp(start_s, stop_s, stream_end_s(container, stream, path), "video")
    start_s, stop_s = request.part_of(start_s, stop_s)
    moments = start_s + (np.arange(request.frames) + 0.5) * (stop_s - start_s) / request.frames
    images, before = _frames_at(container, stream, moments, request.short_side, name_of(path))
    return Reading(images, "; ".join(filter(None, [early, before, late])) or None)


def _video(container: InputContainer, path: Path) -> VideoStream:
    stream = video_stream(container, path)
    stream.thread_type = "SLICE"  # frame threads would decode far past what a short segment needs
    if stream.width or stream.height:  # else the decoder finds out
        check_video_size(stream.width, stream.height, name_of(path))
    return stream


def _by_order(path: Path, request: VideoRequest) -> NDArray[np.uint8]:
    """Frames spread evenly over the whole of a file without timestamps, by their order; it is decoded twice."""

    def decoded() -> Iterator[tuple[VideoStream, av.VideoFrame]]:
        with open_container(path) as container:
            stream = _video(container, path)
            for frame in container.decode(stream):
                yield stream, frame

    count = sum(1 for _ in decoded())
    if not count:
        raise MediaError(f"{name_of(path)} holds no frame that can be decoded")
    low, high = request.part_of(0.0, float(count))
    at = low + (np.arange(request.frames) + 0.5) * (high - low) / request.frames
    times = Counter(np.minimum(at.astype(int), count - 1).tolist())
    images = list[NDArray[np.uint8]]()
    for number, (stream, frame) in enumerate(decoded()):
        if number in times:
            images.extend([_to_array(frame, stream, request.short_side, name_of(path))] * times[number])
    return _stack(images, name_of(path))


def _frames_at(
    container: InputContainer, stream: VideoStream, moments: NDArray[np.float64], short_side: int, name: str
) -> tuple[NDArray[np.uint8], str | None]:
    """The frames on screen at `moments`, which ascend, and a note where there was none yet."""
    images: list[NDArray[np.uint8]] = []
    shown: av.VideoFrame | None = None  # on screen until the next one's time
    shown_until_s = 0.0
    note = None
    for frame, frame_s in frames_from(container, stream, float(moments[0])):
        if shown is None and moments[0] < frame_s - TOLERANCE_S:
            if moments[-1] < frame_s - TOLERANCE_S:
                raise NoMedia(f"{name} has no frame before {frame_s:.2f} s, when the segment is over")
            note = f"there is no frame before {frame_s:.2f} s; the first one stands in"
        if shown is not None and moments[len(images)] < frame_s:
            image = _to_array(shown, stream, short_side, name)
            while len(images) < len(moments) and moments[len(images)] < frame_s:
                images.append(image)
            if len(images) == len(moments):
                break
        shown, shown_until_s = frame, frame_s + _duration_s(frame, stream)
    if shown is None:
        raise MediaError(f"{name} has no frame at {moments[0]:.2f} s: damaged or cut off there")
    if len(images) < len(moments):
        if moments[-1] > shown_until_s + TOLERANCE_S:
            raise MediaError(
                f"{name} is cut off: its frames end at {shown_until_s:.2f} s, the segment needs {moments[-1]:.2f} s"
            )
        images.extend([_to_array(shown, stream, short_side, name)] * (len(moments) - len(images)))
    return _stack(images, name), note


def _stack(images: list[NDArray[np.uint8]], name: str) -> NDArray[np.uint8]:
    shapes = sorted({image.shape for image in images})
    if len(shapes) > 1:
        sizes = " and ".join(f"{width} x {height}" for height, width, _ in shapes[:2])
        raise MediaError(f"{name}: its frames change their shape within the segment; scaled they have {sizes} pixels")
    return np.stack(images)


def _duration_s(frame: av.VideoFrame, stream: VideoStream) -> float:
    """How long a frame stays on screen; the last one of a file may be held for seconds."""
    usual = float(1 / stream.average_rate) if stream.average_rate else 0.0
    declared = float(frame.duration * stream.time_base) if frame.duration and stream.time_base else 0.0
    return max(usual, declared)


def _to_array(frame: av.VideoFrame, stream: VideoStream, short_side: int, name: str) -> NDArray[np.uint8]:
    """(H, W, 3), upright, of square pixels, the shorter side scaled."""
    shape = stream.sample_aspect_ratio or Fraction(1)  # width of a pixel by its height
    if not 1 / _WIDEST_PIXEL <= shape <= _WIDEST_PIXEL:
        shape = Fraction(1)
    wide = float(frame.width * shape)
    check_video_size(wide, frame.height, name)
    scale = short_side / min(wide, frame.height)
    width, height = round(wide * scale), round(frame.height * scale)
    image = frame.reformat(width, height, format="rgb24", interpolation="BILINEAR").to_ndarray()
    return _upright(image.astype(np.uint8, copy=False), frame)


def _upright(image: NDArray[np.uint8], frame: av.VideoFrame) -> NDArray[np.uint8]:
    """Turn and mirror by the display matrix; angles are rounded to quarter turns."""
    side_data: Any = frame.side_data  # PyAV's stub declares motion vectors only
    if "DISPLAYMATRIX" not in side_data:
        return image
    # Column p and row q go to column a p + c q and row b p + d q.
    a, b, _, c, d, *_ = np.frombuffer(side_data["DISPLAYMATRIX"], np.int32).tolist()
    if abs(b) > abs(a):
        image, columns, rows = image.transpose(1, 0, 2), c, b
    else:
        columns, rows = a, d
    return np.ascontiguousarray(image[:: -1 if rows < 0 else 1, :: -1 if columns < 0 else 1])
