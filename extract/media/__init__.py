"""From a path and a span in seconds to an array."""

from mmcache.extract.datasets.base import Source
from mmcache.extract.media.audio import read_audio
from mmcache.extract.media.base import (
    AudioRequest,
    ImuRequest,
    MediaError,
    MediaRequest,
    NoMedia,
    Reading,
    VideoRequest,
)
from mmcache.extract.media.frames import read_flow, read_frames
from mmcache.extract.media.hdf5_audio import read_hdf5_audio
from mmcache.extract.media.imu import read_imu
from mmcache.extract.media.video import read_video


def read_media(source: Source, start_s: float, stop_s: float, request: MediaRequest) -> Reading:
    """Read one segment of `source` the way an encoder asks for it.

    Raises:
        NoMedia: there is none for this segment after all.
        MediaError: there is, but it cannot be used; the message says why.
    """
    if source.kind == "video" and isinstance(request, VideoRequest):
        return read_video(source.paths[0], start_s, stop_s, request)
    if source.kind == "frames" and isinstance(request, VideoRequest):
        return read_frames(source.paths[0], start_s, stop_s, request, source.rate, source.first)
    if source.kind == "flow" and isinstance(request, VideoRequest):
        return read_flow(source.paths, start_s, stop_s, request, source.rate, source.first, source.gain)
    if source.kind == "audio" and isinstance(request, AudioRequest):
        return read_audio(source.paths[0], start_s, stop_s, request)
    if source.kind == "hdf5_audio" and isinstance(request, AudioRequest) and source.rate is not None:
        return read_hdf5_audio(source.paths[0], source.entry, source.rate, start_s, stop_s, request)
    if source.kind == "imu" and isinstance(request, ImuRequest):
        return read_imu(source.paths, start_s, stop_s, request)
    raise MediaError(f"{source.kind} media cannot be read for an encoder that takes {type(request).__name__}")


__all__ = [
    "AudioRequest",
    "ImuRequest",
    "MediaError",
    "MediaRequest",
    "NoMedia",
    "Reading",
    "VideoRequest",
    "read_media",
]
