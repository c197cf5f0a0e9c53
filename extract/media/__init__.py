"""Read a part of a media file, given in seconds, into an array."""

from collections.abc import Callable
from typing import Any

from mmcache.extract.media.av.audio import read_audio
from mmcache.extract.media.av.hdf5_audio import read_hdf5_audio
from mmcache.extract.media.av.video import read_video
from mmcache.extract.media.base.requests import (
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
from mmcache.extract.media.base.source import Source
from mmcache.extract.media.boxes.else_boxes import read_else_boxes
from mmcache.extract.media.boxes.epic_boxes import read_epic_boxes
from mmcache.extract.media.boxes.hdf5_boxes import read_hdf5_boxes
from mmcache.extract.media.images.depth import read_depth
from mmcache.extract.media.images.frames import read_flow, read_frames
from mmcache.extract.media.images.hdf5_images import read_hdf5_flow, read_hdf5_frames
from mmcache.extract.media.images.image_file import parse_range
from mmcache.extract.media.imu.ego4d_imu import read_ego4d_imu
from mmcache.extract.media.imu.imu_tables import read_imu
from mmcache.extract.media.oracle_reader import OracleRequest, read_oracle
from mmcache.extract.media.skeletons.mat_skeleton import read_mat_skeleton
from mmcache.extract.media.skeletons.ntu_skeleton import read_ntu_skeleton
from mmcache.extract.media.skeletons.nwucla_skeleton import read_nwucla_skeleton

Reader = Callable[[Source, float, float, Any], Reading]


def _zero_s(source: Source) -> float:
    """Where second 0 of the segments lies on the clock of a media file: below 0 for a clip cut out of a video."""
    return source.first / source.rate if source.rate else 0.0


# (kind of source, request of the encoder) -> reader
_READERS: dict[tuple[str, type[MediaRequest]], Reader] = {
    ("video", VideoRequest): lambda source, start, stop, want: read_video(
        source.paths[0], start, stop, want, _zero_s(source)
    ),
    ("frames", VideoRequest): lambda source, start, stop, want: read_frames(
        source.paths[0],
        start,
        stop,
        want,
        source.rate,
        source.first,
        source.names,
        source.beside,
        parse_range(source.variant),
    ),
    ("flow", VideoRequest): lambda source, start, stop, want: read_flow(
        source.paths, start, stop, want, source.rate, source.first, source.gain
    ),
    ("hdf5_frames", VideoRequest): lambda source, start, stop, want: read_hdf5_frames(
        source.paths[0], source.entry, want
    ),
    ("hdf5_flow", VideoRequest): lambda source, start, stop, want: read_hdf5_flow(
        source.paths[0], source.entry, want, source.gain
    ),
    ("audio", AudioRequest): lambda source, start, stop, want: read_audio(
        source.paths[0], start, stop, want, _zero_s(source)
    ),
    ("hdf5_audio", AudioRequest): lambda source, start, stop, want: read_hdf5_audio(
        source.paths[0], source.entry, source.rate or 0.0, start, stop, want
    ),
    ("depth", VideoRequest): lambda source, start, stop, want: read_depth(
        source.paths[0], start, stop, want, source.variant, source.rate, source.first, source.names, source.beside
    ),
    ("ntu_skeleton", SkeletonRequest): lambda source, start, stop, want: read_ntu_skeleton(source.paths[0], want),
    ("nwucla_skeleton", SkeletonRequest): lambda source, start, stop, want: read_nwucla_skeleton(
        source.paths[0], want, source.names, source.beside
    ),
    ("mat_skeleton", SkeletonRequest): lambda source, start, stop, want: read_mat_skeleton(source.paths[0], want),
    ("imu", ImuRequest): lambda source, start, stop, want: read_imu(source.paths, start, stop, want, source.columns),
    ("ego4d_imu", ImuRequest): lambda source, start, stop, want: read_ego4d_imu(source.paths[0], start, stop, want),
    ("epic_boxes", BoxesRequest): lambda source, start, stop, want: read_epic_boxes(
        source.paths[0], start, stop, want, source.rate or 0.0
    ),
    ("hdf5_boxes", BoxesRequest): lambda source, start, stop, want: read_hdf5_boxes(
        source.paths[0], source.entry, start, stop, want, source.rate or 0.0
    ),
    ("oracle", OracleRequest): lambda source, start, stop, want: read_oracle(source, want),
    ("else_boxes", BoxesRequest): lambda source, start, stop, want: read_else_boxes(
        source.paths, source.entry, source.extent, start, stop, want, source.rate or 0.0, source.first
    ),
}


def can_read(kind: str, request: MediaRequest) -> bool:
    """Whether a reader can serve this request from media of this kind."""
    return (kind, type(request)) in _READERS


def read_media(source: Source, start_s: float, stop_s: float, request: MediaRequest) -> Reading:
    """Read one segment of `source` as an encoder requests it.

    Raises:
        NoMedia: the file has no media for this segment.
        MediaError: the media cannot be used; the message says why.
    """
    absent = source.absent()
    if absent is not None:
        raise MediaError(absent)
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
    "can_read",
    "read_media",
]
