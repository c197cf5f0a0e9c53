"""Open a media file with PyAV (FFmpeg), and put its failures into words."""

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer

from mmcache.extract.media.base import MediaError, NoMedia


@contextlib.contextmanager
def open_container(path: Path) -> Iterator[InputContainer]:
    """Open `path` for reading. FFmpeg's errors, then or later, become MediaError."""
    try:
        if path.stat().st_size == 0:
            raise MediaError(f"{path.name} is empty (0 bytes)")
        with av.open(str(path), mode="r", metadata_errors="replace") as container:  # titles may be in any encoding
            yield container
    except FileNotFoundError as error:
        raise MediaError(f"{path.name} is not there") from error
    except av.error.InvalidDataError as error:
        raise MediaError(
            f"{path.name} cannot be decoded: damaged, cut off, or no media file (FFmpeg: {error.strerror})"
        ) from error
    except av.error.FFmpegError as error:
        raise MediaError(f"{path.name} cannot be read: damaged or cut off (FFmpeg: {error.strerror})") from error
    except OSError as error:
        raise MediaError(f"{path.name} cannot be read: {error.strerror}") from error


def check_decodable(stream: av.video.stream.VideoStream | av.audio.stream.AudioStream, path: Path, what: str) -> None:
    """Raise MediaError for a stream in a codec that FFmpeg has no decoder for: PyAV gives it no attributes at all."""
    if stream.codec_context is None:
        raise MediaError(f"{path.name}: its {what} is in no codec that FFmpeg can decode")


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


def on_clock_of(path: Path, start_s: float, stop_s: float, zero_s: float) -> tuple[float, float, str | None]:
    """A segment on the clock of a file on which second 0 of the segments lies at `zero_s`, and a note when it had to
    be cut at the file's beginning.

    Raises:
        NoMedia: the segment ends before the file begins.
    """
    start_s, stop_s = start_s + zero_s, stop_s + zero_s
    if start_s >= 0:
        return start_s, stop_s, None
    if stop_s <= 0:
        raise NoMedia(f"{path.name} begins {-stop_s:.2f} s after the segment ends")
    if start_s > -1e-3:
        return 0.0, stop_s, None
    return 0.0, stop_s, f"segment starts {-start_s:.2f} s before {path.name} does; clamped"


def can_seek(
    container: InputContainer, stream: av.video.stream.VideoStream | av.audio.stream.AudioStream, moment_s: float
) -> bool:
    """Go to the last place before `moment_s` that decoding can start at; whether there is a way to it.

    Where there is none (raw FLAC of a single frame), the container has lost its place: open the file again.
    """
    assert stream.time_base is not None
    try:
        moment = (Fraction(max(0.0, moment_s)) + origin_s(container)) / stream.time_base
        container.seek(int(moment), stream=stream, backward=True)
    except av.error.PermissionError:  # FFmpeg's -1, "failed", is read as EPERM
        return False
    return True
