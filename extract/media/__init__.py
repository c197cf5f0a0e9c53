"""From a path and a span in seconds to an array."""

from collections.abc import Callable
from typing import Any

from mmcache.extract.datasets.base import Source
from mmcache.extract.media.audio import read_audio
from mmcache.extract.media.base import (
    AudioRequest,
    BoxesRequest,
    ImuRequest,
    MediaError,
    MediaRequest,
    NoMedia,
    Reading,
    SkeletonRequest,
    VideoRequest,
)
from mmcache.extract.media.frames import read_flow, read_frames
from mmcache.extract.media.hdf5_audio import read_hdf5_audio
from mmcache.extract.media.imu import read_imu
from mmcache.extract.media.video import read_video

Reader = Callable[[Source, float, float, Any], Reading]

# (kind of source, what the encoder asks for) -> who reads it
_READERS: dict[tuple[str, type[MediaRequest]], Reader] = {
    ("video", VideoRequest): lambda source, start, stop, want: read_video(source.paths[0], start, stop, want),
    ("frames", VideoRequest): lambda source, start, stop, want: read_frames(
        source.paths[0], start, stop, want, source.rate, source.first
    ),
    ("flow", VideoRequest): lambda source, start, stop, want: read_flow(
        source.paths, start, stop, want, source.rate, source.first, source.gain
    ),
    ("audio", AudioRequest): lambda source, start, stop, want: read_audio(source.paths[0], start, stop, want),
    ("hdf5_audio", AudioRequest): lambda source, start, stop, want: read_hdf5_audio(
        source.paths[0], source.entry, source.rate or 0.0, start, stop, want
    ),
    ("imu", ImuRequest): lambda source, start, stop, want: read_imu(source.paths, start, stop, want),
}


def read_media(source: Source, start_s: float, stop_s: float, request: MediaRequest) -> Reading:
    """Read one segment of `source` the way an encoder asks for it.

    Raises:
        NoMedia: there is none for this segment after all.
        MediaError: there is, but it cannot be used; the message says why.
    """
    reader = _READERS.get((source.kind, type(request)))
    if reader is None:
        raise MediaError(f"{source.kind} media cannot be read for an encoder that takes {type(request).__name__}")
    return reader(source, start_s, stop_s, request)


__all__ = [
    "AudioRequest",
    "BoxesRequest",
    "ImuRequest",
    "MediaError",
    "MediaRequest",
    "NoMedia",
    "Reading",
    "SkeletonRequest",
    "VideoRequest",
    "read_media",
]
