"""Open a media file with PyAV (FFmpeg), and put its failures into words."""

import contextlib
from collections.abc import Iterator
from fractions import Fraction
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


def origin_s(container: InputContainer) -> Fraction:
    """Where second 0 of a file lies on its streams' clocks: at its first picture or sound, whichever comes first.

    One origin for all streams, or picture and sound would part where one begins later than the other. A start
    before 0 is a sound codec's run-in, not content.
    """
    return max(Fraction(0), Fraction(container.start_time or 0, av.time_base))


def stream_end_s(
    container: InputContainer, stream: av.video.stream.VideoStream | av.audio.stream.AudioStream
) -> float | None:
    """When a stream ends by what the file declares, on the clock of `origin_s`, or None where it declares nothing."""
    if stream.duration is not None and stream.time_base is not None:
        return float(((stream.start_time or 0) + stream.duration) * stream.time_base - origin_s(container))
    if container.duration is None:
        return None
    # Matroska and WebM declare no stream's duration; theirs is the time of the end, counted from 0.
    counted_from = origin_s(container) if "matroska" in container.format.name else 0
    return float(Fraction(container.duration, av.time_base) - counted_from)
