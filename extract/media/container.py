"""Open a media file with PyAV (FFmpeg), and put its failures into words."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import av
from av.container import InputContainer

from mmcache.extract.media.base import MediaError


@contextlib.contextmanager
def open_container(path: Path) -> Iterator[InputContainer]:
    """Open `path` for reading. FFmpeg's errors, then or later, become MediaError."""
    try:
        if path.stat().st_size == 0:
            raise MediaError(f"{path.name} is empty (0 bytes)")
        with av.open(str(path), mode="r") as container:
            yield container
    except FileNotFoundError as error:
        raise MediaError(f"{path.name} is not there") from error
    except av.error.InvalidDataError as error:
        raise MediaError(
            f"{path.name} cannot be decoded: damaged, cut off, or no media file (FFmpeg: {error.strerror})"
        ) from error
    except av.error.FFmpegError as error:
        raise MediaError(f"{path.name} cannot be read (FFmpeg: {error.strerror})") from error
    except OSError as error:
        raise MediaError(f"{path.name} cannot be read: {error.strerror}") from error


def stream_duration_s(
    container: InputContainer, stream: av.video.stream.VideoStream | av.audio.stream.AudioStream
) -> float | None:
    """A stream's declared duration, the container's where the stream has none (webm), or None."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration is not None else None
