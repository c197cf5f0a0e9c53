"""Pictures of a segment, by timestamp."""

from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from mmcache.extract.media.base import TOLERANCE_S, MediaError, NoMedia, Reading, VideoRequest, clamp
from mmcache.extract.media.container import open_container, stream_duration_s


def read_video(path: Path, start_s: float, stop_s: float, request: VideoRequest) -> Reading:
    """Decode `request.frames` pictures, evenly spread over [start_s, stop_s) of the video's own clock.

    For each of the evenly spaced moments, the picture on screen at that moment is taken (presentation
    timestamps, so variable frame rates and B-frames are right). Memory: the chosen pictures only.

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
        stream.thread_type = "SLICE"  # frame threads would decode far past what a short segment needs
        stop_s, note = clamp(start_s, stop_s, stream_duration_s(container, stream), "video")
        moments = start_s + (np.arange(request.frames) + 0.5) * (stop_s - start_s) / request.frames
        return Reading(_pictures_at(container, stream, moments, request.short_side, path.name), note)


def _pictures_at(
    container: av.container.InputContainer,
    stream: av.video.stream.VideoStream,
    moments: NDArray[np.float64],
    short_side: int,
    name: str,
) -> NDArray[np.uint8]:
    time_base, origin = stream.time_base, stream.start_time or 0
    assert time_base is not None
    container.seek(origin + int(moments[0] / time_base), stream=stream, backward=True)
    pictures: list[NDArray[np.uint8]] = []
    shown: av.VideoFrame | None = None  # on screen until the next one's timestamp
    shown_s = 0.0
    for frame in container.decode(stream):
        if frame.pts is None:
            continue
        frame_s = float((frame.pts - origin) * time_base)
        if shown is not None and len(pictures) < len(moments) and moments[len(pictures)] < frame_s:
            picture = _to_array(shown, short_side)
            while len(pictures) < len(moments) and moments[len(pictures)] < frame_s:
                pictures.append(picture)
        if len(pictures) == len(moments):
            break
        shown, shown_s = frame, frame_s
    if shown is None:
        raise MediaError(f"{name} has no picture at {moments[0]:.2f} s: damaged or cut off there")
    if len(pictures) < len(moments):
        frame_duration = float(1 / stream.average_rate) if stream.average_rate else 0.0
        if moments[-1] - shown_s > TOLERANCE_S + 2 * frame_duration:
            raise MediaError(
                f"{name} is cut off: its pictures end at {shown_s:.2f} s, the segment needs {moments[-1]:.2f} s"
            )
        pictures.extend([_to_array(shown, short_side)] * (len(moments) - len(pictures)))
    return np.stack(pictures)


def _to_array(frame: av.VideoFrame, short_side: int) -> NDArray[np.uint8]:
    scale = short_side / min(frame.width, frame.height)
    width, height = round(frame.width * scale), round(frame.height * scale)
    return (
        frame.reformat(width, height, format="rgb24", interpolation="BILINEAR")
        .to_ndarray()
        .astype(np.uint8, copy=False)
    )
